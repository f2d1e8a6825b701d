_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ResNetV1c', depth=18, num_stages=4, out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 1, 1), strides=(1, 2, 2, 2), norm_cfg=dict(type='BN'), norm_eval=False,
        style='pytorch', contract_dilation=True),
    neck=dict(in_channels=[64, 128, 256, 512]))
