# Semantic FPN on LKCA-S, with the neck of upernet_lkca-s.py in place of an FPN. The head keeps the
# strides of a pyramid, though all four maps are at 1/16: that is what the paper's MACs imply.
_base_ = 'mmseg::_base_/models/fpn_r50.py'

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
    neck=dict(
        _delete_=True,
        type='MultiLevelNeck',
        in_channels=[384] * 4,
        out_channels=384,
        scales=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[384] * 4, channels=384, num_classes=150))
