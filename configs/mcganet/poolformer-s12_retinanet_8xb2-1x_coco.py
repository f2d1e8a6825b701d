_base_ = '../linglo/r50_retinanet_8xb2-1x_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.PoolFormer',
        arch='s12',
        out_indices=(2, 4, 6),
        frozen_stages=-1,  # 0, the default, freezes the stem
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/poolformer/'
            'poolformer-s12_3rdparty_32xb128_in1k_20220414-f8d83051.pth',
            prefix='backbone.')),
    neck=dict(in_channels=[128, 320, 512], start_level=0))
