_base_ = './vit-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=200, num_layers=6, num_heads=10, feedforward_channels=400)),
    head=dict(in_channels=200))
