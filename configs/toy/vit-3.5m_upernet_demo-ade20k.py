# As lkca-3.5m_upernet_demo-ade20k.py, on a ViT of the same depth: 3.56M in the backbone.
_base_ = './vit_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=232, feedforward_channels=464)),
    neck=dict(in_channels=[232] * 4))
