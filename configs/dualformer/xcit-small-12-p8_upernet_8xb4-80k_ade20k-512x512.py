_base_ = './xcit-small-12-p16_upernet_8xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        patch_size=8,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/xcit/'
            'xcit-small-12-p8_3rdparty_in1k_20230213-9e364ce3.pth')),
    neck=dict(rescales=[2, 1, 0.5, 0.25]))
