_base_ = './mcganet_mask-rcnn_1xb4-1000_nuclei-256x256.py'

model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, style='pytorch'),
    neck=dict(in_channels=[64, 128, 256, 512]))
