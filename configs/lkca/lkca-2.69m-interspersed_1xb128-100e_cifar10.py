# LKCA among blocks that keep self-attention, as Section III-B-3 says; its Eq. 3 has LKCA alone.
# Depth and places of attention are inferred: with an output projection after LKCA, 3 of 11 blocks
# meet the published parameters.
_base_ = './lkca-2.69m_1xb128-100e_cifar10.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=192, num_layers=11, mlp_ratio=2),
        attention_layers=(2, 5, 8),
        num_heads=12))
