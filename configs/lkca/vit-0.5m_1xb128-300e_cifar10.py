_base_ = './vit-2.69m_1xb128-300e_cifar10.py'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=80, num_layers=6, num_heads=5, feedforward_channels=320)),
    head=dict(in_channels=80))
