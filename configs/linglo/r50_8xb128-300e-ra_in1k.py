_base_ = './r18_8xb128-300e-ra_in1k.py'

model = dict(backbone=dict(depth=50), head=dict(in_channels=2048))
