# Semantic FPN for CamVid's eleven classes, with norms that run on CPUs; the leaves have backbones.
_base_ = 'mmseg::_base_/models/fpn_r50.py'

model = dict(
    data_preprocessor=dict(size=(240, 320)),
    pretrained=None,
    neck=dict(out_channels=64),
    decode_head=dict(
        in_channels=[64] * 4, channels=64, num_classes=11, norm_cfg=dict(type='BN')))
