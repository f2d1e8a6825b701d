_base_ = [
    '../_base_/segmentation_runtime.py', 'mmseg::_base_/models/upernet_swin.py',
    'mmseg::_base_/datasets/ade20k.py', '../_base_/schedules/upernet_80k.py'
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
            'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
