_base_ = [
    '../_base_/models/mask-rcnn_pvt-large.py', 'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_1x.py'
]
