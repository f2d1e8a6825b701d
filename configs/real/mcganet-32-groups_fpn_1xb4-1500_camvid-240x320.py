# MCGANet with 32 groups where it has 8.
_base_ = './mcganet_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(num_groups=32))
