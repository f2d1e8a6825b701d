# UPerNet on mmsegmentation's ViT-B, with the neck of upernet_lkca-s.py.
_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    neck=dict(scales=[1, 1, 1, 1]),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
