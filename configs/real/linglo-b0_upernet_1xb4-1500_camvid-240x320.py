# UPerNet on CamVid, from scratch; see docs/real_data.md.
_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/upernet_camvid.py',
    '../_base_/datasets/camvid.py', '../_base_/schedules/camvid_1500.py'
]

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.LinGlo', arch='b0'),
    decode_head=dict(in_channels=[32, 64, 160, 256]),
    auxiliary_head=dict(in_channels=160))
