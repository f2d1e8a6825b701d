_base_ = './lkca/lkca-s_fpn_1xb16-20k_ade20k-512x512.py'
