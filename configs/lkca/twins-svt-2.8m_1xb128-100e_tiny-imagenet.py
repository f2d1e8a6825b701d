# Widths, depths and the MLP ratio are inferred from the published parameters; the windows divide
# the maps of images of 64 x 64.
_base_ = './lkca-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SVT',
        arch=dict(
            embed_dims=[24, 48, 96, 192],
            depths=[2, 2, 8, 6],
            num_heads=[1, 2, 4, 8],
            patch_sizes=[4, 2, 2, 2],
            strides=[4, 2, 2, 2],
            mlp_ratios=[2, 2, 2, 2],
            sr_ratios=[8, 4, 2, 1],
            window_sizes=[4, 4, 4, 2]),
        qkv_bias=True,
        norm_after_stage=[False, False, False, True],
        drop_path_rate=0.1),
    head=dict(in_channels=192))
