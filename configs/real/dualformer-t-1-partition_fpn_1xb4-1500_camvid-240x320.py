# DualFormer-T with all tokens in one partition, between which there is nothing to attend to.
_base_ = './dualformer-t_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(num_partitions=1, paths=('intra', )))
