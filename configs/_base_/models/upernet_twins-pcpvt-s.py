_base_ = 'mmseg::_base_/models/twins_pcpvt-s_upernet.py'

model = dict(data_preprocessor=dict(size=(512, 512)), backbone=dict(init_cfg=None))
