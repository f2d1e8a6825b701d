_base_ = './t2t-vit-1m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(embed_dims=200, layer_cfgs=dict(feedforward_channels=400)),
    head=dict(in_channels=200))
