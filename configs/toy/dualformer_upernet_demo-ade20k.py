# As lkca_upernet_demo-ade20k.py, on DualFormer-T.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.DualFormer', arch='t'),
    neck=dict(in_channels=[64, 128, 256, 320]))
