# Semantic FPN on mmsegmentation's ViT-S, with neck and head of fpn_lkca-s.py.
_base_ = './fpn_lkca-s.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        img_size=(512, 512),
        patch_size=16,
        embed_dims=384,
        num_layers=12,
        num_heads=6,
        out_indices=(2, 5, 8, 11),
        norm_cfg=dict(type='LN', eps=1e-6)))
