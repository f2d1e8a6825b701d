_base_ = [
    '../_base_/models/retinanet_mcganet.py', 'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_1x.py'
]
