_base_ = './linglo-b0_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=512))
