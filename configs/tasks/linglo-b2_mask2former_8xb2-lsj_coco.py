# Mask2Former for instances on LinGlo-b2: mmdetection's recipe of ResNet-50, 50 epochs long.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LinGlo',
        arch='b2',
        drop_path_rate=0.3,  # of mmdetection's Swin-T here
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    panoptic_head=dict(in_channels=[64, 128, 320, 512]))
