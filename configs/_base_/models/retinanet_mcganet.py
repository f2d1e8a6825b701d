# RetinaNet on MCGANet, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH names.
# As in the base, the pyramid starts at 1/8, so the map at 1/4 is not emitted. * as in
# mcganet_classifier.py: the paper's hyperparameters are "similar to PVT, Swin".
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.MCGANet',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[64, 128, 256], start_level=0))
