_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/datasets/coco_instance_ms.py',
    'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_3x.py'
]
