# DualFormer-T with all tokens in one partition.
_base_ = './dualformer-t_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(num_partitions=1))
