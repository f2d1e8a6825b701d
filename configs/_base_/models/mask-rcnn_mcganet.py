# Mask R-CNN on MCGANet, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH names.
# * as in mcganet_classifier.py: the paper's hyperparameters are "similar to PVT, Swin".
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[32, 64, 128, 256]))
