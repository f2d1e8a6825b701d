# UPerNet on DualFormer-S, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names. * as in dualformer_classifier.py.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch='s',
        drop_path_rate=0.1,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320))
