_base_ = './deit-t_8xb128-300e-ra_in1k.py'

model = dict(backbone=dict(arch='deit-small'), head=dict(in_channels=384))
