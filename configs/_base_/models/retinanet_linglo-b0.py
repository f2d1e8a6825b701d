# RetinaNet on LinGlo-b0, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH names.
# As in the base, the pyramid starts at 1/8, so the map at 1/4 is not emitted. New layers start with
# Xavier weights, Section 4.2: the neck by default, the head as said here, but for the bias of the
# scores, which stays the focal loss's prior. * as in linglo_classifier.py.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LinGlo',
        arch='b0',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    neck=dict(in_channels=[64, 160, 256], start_level=0),
    bbox_head=dict(
        init_cfg=dict(
            type='Xavier',
            layer='Conv2d',
            distribution='uniform',
            override=dict(
                type='Xavier', name='retina_cls', distribution='uniform', bias_prob=0.01))))
