# The paper's "Swin-S" has 9 blocks, not the 24 of Swin-S: its parameters and MACs imply them.
_base_ = 'mmseg::_base_/models/upernet_swin.py'

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(depths=[3, 2, 2, 2]),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
