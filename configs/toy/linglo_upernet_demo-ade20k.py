# As lkca_upernet_demo-ade20k.py, on LinGlo-b0.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.LinGlo', arch='b0'),
    neck=dict(in_channels=[32, 64, 160, 256]))
