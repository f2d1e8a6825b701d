_base_ = './t2t-vit-1m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        embed_dims=384, num_layers=11, layer_cfgs=dict(num_heads=6, feedforward_channels=768)),
    head=dict(in_channels=384))
