_base_ = './upernet_vit-b.py'

model = dict(
    backbone=dict(embed_dims=384, num_heads=6),
    neck=dict(in_channels=[384] * 4, out_channels=384),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384))
