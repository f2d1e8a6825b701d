# XCiT with the width and heads of its smallest size. Depth and MLP ratio are inferred from the
# published parameters.
_base_ = './lkca-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='XCiT',
        img_size=64,
        patch_size=8,
        embed_dims=128,
        depth=3,
        num_heads=4,
        mlp_ratio=3,
        drop_path_rate=0.1),
    neck=None,
    head=dict(in_channels=128))
