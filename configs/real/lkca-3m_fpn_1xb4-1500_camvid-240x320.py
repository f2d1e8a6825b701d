# An LKCA-ViT of LinGlo-b0's size; its four maps are at 1/8, so the neck scales them to a pyramid.
_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LKCAViT',
        arch=dict(embed_dims=256, num_layers=8, mlp_ratio=2),
        img_size=(240, 320),
        patch_size=8,
        out_indices=(1, 3, 5, 7)),
    neck=dict(
        _delete_=True,
        type='MultiLevelNeck',
        in_channels=[256] * 4,
        out_channels=64,
        scales=[2, 1, 0.5, 0.25]))
