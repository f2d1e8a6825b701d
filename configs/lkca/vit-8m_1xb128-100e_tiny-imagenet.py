_base_ = './vit-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=312, num_layers=10, num_heads=12, feedforward_channels=624)),
    head=dict(in_channels=312))
