# As lkca_upernet_demo-ade20k.py, on a ViT of the same width and depth, which is mmpretrain's.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=128, num_layers=8, num_heads=4, feedforward_channels=256),
        img_size=128,
        patch_size=8,
        out_indices=(1, 3, 5, 7),
        out_type='featmap',
        qkv_bias=False))
