# RTMDet-s on MCGANet: mmdetection's recipe of its own backbone of that size. Images are normalised
# as on ImageNet, where the weights come from, and not as in the base.
_base_ = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[64, 128, 256]))
auto_scale_lr = dict(base_batch_size=256)
