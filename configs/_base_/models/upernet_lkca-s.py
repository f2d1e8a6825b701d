# UPerNet on LKCA-S. The paper's MACs imply a neck that keeps all four maps at 1/16 of the image.
_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LKCAViT',
        arch='s',
        img_size=(512, 512),
        patch_size=16,
        out_indices=(2, 5, 8, 11)),
    neck=dict(in_channels=[384] * 4, out_channels=384, scales=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[384] * 4, num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150))
