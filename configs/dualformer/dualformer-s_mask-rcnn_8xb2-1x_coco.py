_base_ = './dualformer-xs_mask-rcnn_8xb2-1x_coco.py'

model = dict(
    backbone=dict(arch='s', drop_path_rate=0.2), neck=dict(in_channels=[64, 128, 320, 512]))
