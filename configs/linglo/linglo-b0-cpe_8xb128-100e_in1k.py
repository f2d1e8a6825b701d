_base_ = './linglo-b0_8xb128-100e_in1k.py'

model = dict(backbone=dict(encoding='cpe'))
