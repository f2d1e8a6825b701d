# As lkca-3.5m_retinanet_demo-coco.py, on an MCGANet with fewer blocks: 3.60M in the backbone.
_base_ = './lkca-3.5m_retinanet_demo-coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        arch=dict(
            embed_dims=(32, 64, 128, 256),
            depths=(2, 2, 4, 2),
            num_heads=(2, 2, 4, 8),
            mlp_ratios=(4, 4, 4, 4)),
        out_indices=(1, 2, 3)),
    neck=dict(in_channels=[64, 128, 256]))
