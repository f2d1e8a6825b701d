_base_ = './tasks/dualformer-s_segformer_8xb2-160k_ade20k-512x512.py'
