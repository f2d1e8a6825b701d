_base_ = './dualformer-xs_mask-rcnn_8xb2-ms-3x_coco.py'

model = dict(
    backbone=dict(arch='b', drop_path_rate=0.4), neck=dict(in_channels=[64, 128, 368, 560]))
