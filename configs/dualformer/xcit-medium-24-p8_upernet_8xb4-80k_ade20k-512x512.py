_base_ = './xcit-medium-24-p16_upernet_8xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        patch_size=8,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/xcit/'
            'xcit-medium-24-p8_3rdparty_in1k_20230214-c362850b.pth')),
    neck=dict(rescales=[2, 1, 0.5, 0.25]))
