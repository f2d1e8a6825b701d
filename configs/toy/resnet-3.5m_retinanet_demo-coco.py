# As lkca-3.5m_retinanet_demo-coco.py, on a ResNet-18 of 36 channels: 3.54M in the backbone.
_base_ = './lkca-3.5m_retinanet_demo-coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        stem_channels=36,
        base_channels=36,
        out_indices=(1, 2, 3)),
    neck=dict(in_channels=[72, 144, 288]))
