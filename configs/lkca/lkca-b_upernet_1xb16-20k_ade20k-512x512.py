_base_ = './lkca-s_upernet_1xb16-20k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='b'),
    neck=dict(in_channels=[768] * 4, out_channels=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))
