_base_ = './r50_retinanet_8xb2-1x_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.PCPVT',
        arch='small',
        qkv_bias=True,
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/twins/'
            'twins-pcpvt-small_3rdparty_8xb128_in1k_20220126-ef23c132.pth',
            prefix='backbone.')),
    neck=dict(in_channels=[128, 320, 512], start_level=0))
