_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='s'), head=dict(in_channels=512))
