_base_ = './upernet_lkca-s.py'

model = dict(
    backbone=dict(arch='b'),
    neck=dict(in_channels=[768] * 4, out_channels=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))
