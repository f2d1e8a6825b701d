_base_ = './xcit-tiny-24-p16_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(embed_dims=512, num_heads=8, drop_path_rate=0.15), head=dict(in_channels=512))
