_base_ = './dualformer/dualformer-s_upernet_8xb4-80k_ade20k-512x512.py'
