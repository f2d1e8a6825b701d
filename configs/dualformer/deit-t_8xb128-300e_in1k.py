_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='VisionTransformer', arch='deit-tiny', patch_size=16,
        drop_path_rate=0.1),
    head=dict(type='VisionTransformerClsHead', in_channels=192),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1., bias=0.)
    ])
