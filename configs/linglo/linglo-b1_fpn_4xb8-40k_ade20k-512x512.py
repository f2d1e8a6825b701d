_base_ = './linglo-b0_fpn_4xb8-40k_ade20k-512x512.py'

model = dict(backbone=dict(arch='b1'), neck=dict(in_channels=[64, 128, 320, 512]))
