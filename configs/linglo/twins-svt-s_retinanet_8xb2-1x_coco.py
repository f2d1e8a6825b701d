_base_ = './twins-pcpvt-s_retinanet_8xb2-1x_coco.py'

model = dict(
    backbone=dict(
        type='mmpretrain.SVT',
        norm_after_stage=True,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/twins/'
            'twins-svt-small_3rdparty_8xb128_in1k_20220126-8fe5205b.pth')),
    neck=dict(in_channels=[128, 256, 512]))
