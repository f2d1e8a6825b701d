# As lkca_retinanet_demo-coco.py, on LinGlo-b0.
_base_ = './lkca_retinanet_demo-coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.LinGlo', arch='b0', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[64, 160, 256]))
