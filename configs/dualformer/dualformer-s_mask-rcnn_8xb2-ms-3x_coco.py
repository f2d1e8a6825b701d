_base_ = './dualformer-xs_mask-rcnn_8xb2-ms-3x_coco.py'

model = dict(backbone=dict(arch='s'), neck=dict(in_channels=[64, 128, 320, 512]))
