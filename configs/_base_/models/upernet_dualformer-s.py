# UPerNet on DualFormer-S, whose weights --cfg-options model.backbone.init_cfg.checkpoint=PATH
# names. * stochastic depth is that of MPViT here: 0.2 in S and 0.4 in B.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch='s',
        drop_path_rate=0.2,  # *
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320))
