# Width and depth are inferred from the published parameters; the T2T module is mmpretrain's.
_base_ = './lkca-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='T2T_ViT',
        img_size=64,
        embed_dims=120,
        num_layers=7,
        layer_cfgs=dict(num_heads=4, feedforward_channels=240),
        drop_path_rate=0.1,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
    neck=None,
    head=dict(type='VisionTransformerClsHead', in_channels=120))
