_base_ = './swin-1m_1xb128-100e_cifar100.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=64, depths=[2, 4, 4], num_heads=[2, 4, 8])),
    head=dict(in_channels=256))
