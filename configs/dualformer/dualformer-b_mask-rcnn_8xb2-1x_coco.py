_base_ = './dualformer-xs_mask-rcnn_8xb2-1x_coco.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[64, 128, 368, 560]))
