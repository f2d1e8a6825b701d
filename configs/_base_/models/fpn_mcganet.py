# Semantic FPN on MCGANet, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names.
_base_ = './fpn_r50.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[32, 64, 128, 256]))
