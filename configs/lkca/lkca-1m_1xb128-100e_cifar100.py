_base_ = './lkca-2.69m_1xb128-100e_cifar100.py'

model = dict(backbone=dict(arch='1m'), head=dict(in_channels=136))
