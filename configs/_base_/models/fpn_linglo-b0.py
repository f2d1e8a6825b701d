# Semantic FPN on LinGlo-b0, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names. New layers start with Xavier weights, Section 4.3: the neck by default, the head as said
# here. * as in linglo_classifier.py.
_base_ = './fpn_r50.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LinGlo',
        arch='b0',
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[32, 64, 160, 256]),
    decode_head=dict(init_cfg=dict(type='Xavier', layer='Conv2d', distribution='uniform')))
