_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.MCGANet'),
    neck=dict(in_channels=[32, 64, 128, 256]))
