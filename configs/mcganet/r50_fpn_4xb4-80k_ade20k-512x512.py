_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py', '../_base_/schedules/semantic-fpn_80k.py'
]
