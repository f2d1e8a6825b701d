_base_ = './linglo-b0_fpn_1xb4-1500_camvid-240x320.py'

model = dict(
    backbone=dict(
        _delete_=True, type='mmdet.PyramidVisionTransformerV2', embed_dims=32,
        num_layers=[2, 2, 2, 2], drop_path_rate=0.),
    neck=dict(in_channels=[32, 64, 160, 256]))
