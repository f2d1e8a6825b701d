_base_ = './linglo-b0_8xb128-100e_in1k.py'

model = dict(backbone=dict(encoding=None, patch_sizes=(4, 2, 2, 2), absolute_pos=True))
