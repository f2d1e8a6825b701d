_base_ = 'mmseg::_base_/models/fpn_r50.py'

model = dict(data_preprocessor=dict(size=(512, 512)), decode_head=dict(num_classes=150))
