_base_ = './xcit-small-24-p16_upernet_8xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        embed_dims=512,
        drop_path_rate=0.15,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/xcit/'
            'xcit-medium-24-p16_3rdparty_in1k_20230213-ad0aa92e.pth')),
    neck=dict(embed_dim=512),
    decode_head=dict(in_channels=[512, 512, 512, 512]),
    auxiliary_head=dict(in_channels=512))
