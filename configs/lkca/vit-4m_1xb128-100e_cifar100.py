_base_ = './vit-2.69m_1xb128-100e_cifar100.py'

model = dict(
    backbone=dict(
        arch=dict(embed_dims=264, num_layers=7, num_heads=12, feedforward_channels=528)),
    head=dict(in_channels=264))
