_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py', '../_base_/schedules/upernet_80k.py'
]

model = dict(pretrained='open-mmlab://resnet101_v1c', backbone=dict(depth=101))
