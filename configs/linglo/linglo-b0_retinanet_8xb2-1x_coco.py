_base_ = [
    '../_base_/models/retinanet_linglo-b0.py', 'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_1x.py'
]
