_base_ = './linglo-b1_fpn_4xb8-40k_ade20k-512x512.py'

model = dict(backbone=dict(arch='b2'))
