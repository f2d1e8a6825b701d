_base_ = './dualformer/dualformer-xs_8xb128-300e_in1k.py'
