_base_ = [
    '../_base_/models/mask-rcnn_pvt-medium.py', '../_base_/datasets/coco_instance_ms.py',
    'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_3x.py'
]
