# As lkca-3.5m_retinanet_demo-coco.py, on a ViT of the same depth, which is mmpretrain's: 3.56M.
_base_ = './lkca-3.5m_retinanet_demo-coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=232, num_layers=8, num_heads=4, feedforward_channels=464),
        img_size=128,
        patch_size=8,
        out_type='featmap',
        qkv_bias=False),
    neck=dict(in_channels=[232]))
