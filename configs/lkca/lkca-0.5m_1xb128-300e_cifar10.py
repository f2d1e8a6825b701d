_base_ = './lkca-2.69m_1xb128-300e_cifar10.py'

model = dict(backbone=dict(arch='0.5m'), head=dict(in_channels=100))
