_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/upernet_xcit-small-12-p16.py',
    'mmseg::_base_/datasets/ade20k.py', '../_base_/schedules/upernet_80k.py'
]
