# LinGlo-b0 with one depthwise convolution in the place of RP-CPE's four branches.
_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(encoding='cpe'))
