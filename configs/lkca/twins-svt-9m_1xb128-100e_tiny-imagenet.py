_base_ = './twins-svt-2.8m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=[56, 112, 224, 448],
            depths=[2, 2, 4, 2],
            num_heads=[2, 4, 8, 16],
            mlp_ratios=[4, 4, 4, 4])),
    head=dict(in_channels=448))
