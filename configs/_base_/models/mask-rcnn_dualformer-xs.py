# Mask R-CNN on DualFormer-XS, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names. * stochastic depth is that of MPViT here, as in dualformer_classifier.py: 0.1 in T and XS,
# 0.2 in S and 0.4 in B.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch='xs',
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[64, 128, 320, 368]))
