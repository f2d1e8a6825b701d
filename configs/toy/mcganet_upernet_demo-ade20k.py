# As lkca_upernet_demo-ade20k.py, on MCGANet.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.MCGANet'),
    neck=dict(in_channels=[32, 64, 128, 256]))
