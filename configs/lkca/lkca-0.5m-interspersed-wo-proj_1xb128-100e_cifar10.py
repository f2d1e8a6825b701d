# As lkca-0.5m-interspersed, without an output projection, which Algorithms 1 and 2 do not print.
_base_ = './lkca-2.69m_1xb128-100e_cifar10.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=116, num_layers=6, mlp_ratio=2),
        attention_layers=(2, 5),
        num_heads=4,
        out_proj=False),
    head=dict(in_channels=116))
