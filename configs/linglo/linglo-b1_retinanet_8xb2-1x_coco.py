_base_ = './linglo-b0_retinanet_8xb2-1x_coco.py'

model = dict(backbone=dict(arch='b1'), neck=dict(in_channels=[128, 320, 512]))
