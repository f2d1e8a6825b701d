_base_ = './linglo-b0_retinanet_1xb4-1000_bccd-240x320.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, num_stages=4, out_indices=(1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, style='pytorch'),
    neck=dict(in_channels=[128, 256, 512]))
