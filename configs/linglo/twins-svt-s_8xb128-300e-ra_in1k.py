_base_ = './swin-t_8xb128-300e-ra_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SVT',
        arch='small',
        qkv_bias=True,
        out_indices=(3, ),
        norm_after_stage=[False, False, False, True],
        drop_path_rate=0.2),
    head=dict(in_channels=512))
