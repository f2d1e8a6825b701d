# As lkca-2.69m-interspersed, without an output projection, which Algorithms 1 and 2 do not print.
# 4 of 12 blocks with self-attention meet the published parameters (inferred).
_base_ = './lkca-2.69m_1xb128-100e_cifar10.py'

model = dict(
    backbone=dict(attention_layers=(2, 5, 8, 11), num_heads=12, out_proj=False))
