# The third stage's MLP is twice as wide as in PCPVT-S: the paper's parameters imply it.
_base_ = 'mmseg::_base_/models/twins_pcpvt-s_fpn.py'

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=None, mlp_ratios=[8, 8, 8, 4]))
