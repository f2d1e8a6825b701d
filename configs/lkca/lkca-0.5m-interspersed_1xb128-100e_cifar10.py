# As lkca-2.69m-interspersed. Every third of 6 blocks keeps self-attention; width and MLP ratio are
# inferred from the published parameters and multiply-adds.
_base_ = './lkca-2.69m_1xb128-100e_cifar10.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=96, num_layers=6, mlp_ratio=3),
        attention_layers=(2, 5),
        num_heads=6),
    head=dict(in_channels=96))
