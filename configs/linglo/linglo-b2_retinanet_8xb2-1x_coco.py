_base_ = './linglo-b1_retinanet_8xb2-1x_coco.py'

model = dict(backbone=dict(arch='b2'))
