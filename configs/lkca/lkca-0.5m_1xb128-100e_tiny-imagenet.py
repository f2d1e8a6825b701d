_base_ = './lkca-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(backbone=dict(arch='0.5m'), head=dict(in_channels=100))
