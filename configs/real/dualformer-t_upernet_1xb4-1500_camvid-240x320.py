_base_ = './linglo-b0_upernet_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.DualFormer', arch='t'),
    decode_head=dict(in_channels=[64, 128, 256, 320]),
    auxiliary_head=dict(in_channels=256))
