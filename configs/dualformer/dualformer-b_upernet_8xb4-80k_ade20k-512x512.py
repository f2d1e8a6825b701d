_base_ = './dualformer-s_upernet_8xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='b', drop_path_rate=0.4),
    decode_head=dict(in_channels=[64, 128, 368, 560]),
    auxiliary_head=dict(in_channels=368))
