_base_ = './xcit-small-12-p16_8xb128-300e_in1k.py'

model = dict(backbone=dict(patch_size=8))
