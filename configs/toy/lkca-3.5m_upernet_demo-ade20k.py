# One of six networks of equal size, which docs/learning_curves.md compares: 3.49M in the backbone.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=264)),
    neck=dict(in_channels=[264] * 4))
