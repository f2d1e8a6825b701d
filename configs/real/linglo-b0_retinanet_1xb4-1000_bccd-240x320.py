# RetinaNet on blood cells, from scratch.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', '../_base_/datasets/bccd.py',
    '../_base_/schedules/detection_1000.py'
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmvisionmix.LinGlo', arch='b0', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[64, 160, 256], start_level=0, out_channels=128, num_outs=4),
    bbox_head=dict(
        num_classes=3,
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        anchor_generator=dict(strides=[8, 16, 32, 64], octave_base_scale=3)))
