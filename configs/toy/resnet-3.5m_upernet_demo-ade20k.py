# As lkca-3.5m_upernet_demo-ade20k.py, on a ResNet-18 of 36 channels: 3.54M in the backbone.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, stem_channels=36, base_channels=36),
    neck=dict(in_channels=[36, 72, 144, 288]))
