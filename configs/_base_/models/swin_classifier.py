# Swin for images of 32 x 32. Nothing but the published parameters tells its widths and depths;
# three stages, windows of 4 and an MLP ratio of 2 are those of the paper's reference [11].
_base_ = './lkca_classifier.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch=dict(embed_dims=40, depths=[2, 2, 4], num_heads=[2, 4, 8]),
        img_size=32,
        patch_size=2,
        window_size=4,
        out_indices=(2, ),
        drop_path_rate=0.1,
        stage_cfgs=dict(block_cfgs=dict(ffn_ratio=2)),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
    head=dict(in_channels=160))
