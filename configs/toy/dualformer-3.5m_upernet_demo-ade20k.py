# As lkca-3.5m_upernet_demo-ade20k.py, on a DualFormer narrower than T: 3.52M in the backbone.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch=dict(
            embed_dims=(48, 96, 192, 288),
            depths=(2, 2, 4, 2),
            reductions=(4, 2, 1, 1),
            mlp_ratios=(4, 4, 2, 2))),
    neck=dict(in_channels=[48, 96, 192, 288]))
