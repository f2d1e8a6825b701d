_base_ = './linglo-b0_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='b2'), head=dict(in_channels=512))
