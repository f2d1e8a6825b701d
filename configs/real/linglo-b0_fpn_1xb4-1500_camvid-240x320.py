# Semantic FPN on CamVid, from scratch; see docs/real_data.md.
_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/fpn_camvid.py',
    '../_base_/datasets/camvid.py', '../_base_/schedules/camvid_1500.py'
]

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.LinGlo', arch='b0'),
    neck=dict(in_channels=[32, 64, 160, 256]))
