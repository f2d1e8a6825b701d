_base_ = './mcganet_mask-rcnn_1xb4-1000_nuclei-256x256.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.DualFormer', arch='t'),
    neck=dict(in_channels=[64, 128, 256, 320]))
