_base_ = './twins-pcpvt-s_fpn_4xb8-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        type='SVT',
        embed_dims=[64, 128, 256, 512],
        num_heads=[2, 4, 8, 16],
        mlp_ratios=[4, 4, 4, 4],
        depths=[2, 2, 10, 4],
        windiow_sizes=[7, 7, 7, 7],
        norm_after_stage=True,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/twins/'
            'alt_gvt_small_20220308-7e1c3695.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
