_base_ = './linglo-b0-wo-c_8xb128-100e_in1k.py'

model = dict(
    backbone=dict(arch='w/o-ch', patch_sizes=(16, 1, 1, 1)), head=dict(in_channels=150))
