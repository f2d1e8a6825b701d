# Mask R-CNN on MCGANet, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH names.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[32, 64, 128, 256]))
