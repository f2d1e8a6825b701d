_base_ = './lkca/lkca-2.69m_1xb128-100e_cifar10.py'
