_base_ = './vit-2.69m_1xb128-100e_svhn.py'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=136, num_layers=7, num_heads=8, feedforward_channels=272)),
    head=dict(in_channels=136))
