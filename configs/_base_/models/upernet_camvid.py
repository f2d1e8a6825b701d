# UPerNet for CamVid's eleven classes, with norms that run on CPUs; the leaves have backbones.
_base_ = 'mmseg::_base_/models/upernet_r50.py'

norm = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(240, 320)),
    pretrained=None,
    decode_head=dict(channels=128, num_classes=11, norm_cfg=norm),
    auxiliary_head=dict(channels=64, num_classes=11, norm_cfg=norm))
