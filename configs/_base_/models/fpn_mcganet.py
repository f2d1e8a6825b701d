# Semantic FPN on MCGANet, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names. * as in mcganet_classifier.py.
_base_ = './fpn_r50.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[32, 64, 128, 256]))
