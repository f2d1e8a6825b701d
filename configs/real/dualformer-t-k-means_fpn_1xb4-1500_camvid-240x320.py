# DualFormer-T with partitions by K-Means, where it hashes.
_base_ = './dualformer-t_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(partition='k-means'))
