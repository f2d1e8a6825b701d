_base_ = './mcganet/mcganet_fpn_4xb4-80k_ade20k-512x512.py'
