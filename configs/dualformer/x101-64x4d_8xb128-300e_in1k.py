_base_ = './r50_8xb128-300e_in1k.py'

model = dict(backbone=dict(type='ResNeXt', depth=101, groups=64, width_per_group=4))
