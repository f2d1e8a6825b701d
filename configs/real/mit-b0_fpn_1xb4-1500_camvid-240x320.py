_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(
        _delete_=True, type='MixVisionTransformer', embed_dims=32, num_stages=4,
        num_layers=[2, 2, 2, 2], num_heads=[1, 2, 5, 8], patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1], out_indices=(0, 1, 2, 3), mlp_ratio=4, qkv_bias=True),
    neck=dict(in_channels=[32, 64, 160, 256]))
