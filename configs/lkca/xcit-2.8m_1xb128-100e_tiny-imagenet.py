_base_ = './xcit-1m_1xb128-100e_tiny-imagenet.py'

model = dict(backbone=dict(depth=14))
