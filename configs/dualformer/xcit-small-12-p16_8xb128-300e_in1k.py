_base_ = './xcit-tiny-12-p16_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(embed_dims=384, num_heads=8, drop_path_rate=0.05), head=dict(in_channels=384))
