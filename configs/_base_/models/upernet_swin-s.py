# The paper's "Swin-S" has half the blocks of Swin-S: parameters and MACs imply these depths.
_base_ = 'mmseg::_base_/models/upernet_swin.py'

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(depths=[3, 2, 2, 2]),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
