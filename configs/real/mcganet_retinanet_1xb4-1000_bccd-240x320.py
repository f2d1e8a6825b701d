_base_ = './linglo-b0_retinanet_1xb4-1000_bccd-240x320.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.MCGANet', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[64, 128, 256]))
