# As lkca-3.5m_retinanet_demo-coco.py, on a DualFormer narrower than T: 3.52M in the backbone.
_base_ = './lkca-3.5m_retinanet_demo-coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch=dict(
            embed_dims=(48, 96, 192, 288),
            depths=(2, 2, 4, 2),
            reductions=(4, 2, 1, 1),
            mlp_ratios=(4, 4, 2, 2)),
        out_indices=(1, 2, 3)),
    neck=dict(in_channels=[96, 192, 288]))
