# UPerNet on XCiT-S12/16, without its class attention. Maps of one size, from four depths, are
# brought to a pyramid. Depths, neck, synchronised norms and stochastic depth are those of XCiT's
# own UPerNet.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.XCiT',
        patch_size=16,
        embed_dims=384,
        depth=12,
        cls_attn_layers=0,
        num_heads=8,
        drop_path_rate=0.05,
        out_type='featmap',
        out_indices=[3, 5, 7, 11],
        final_norm=False,
        bn_norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/xcit/'
            'xcit-small-12-p16_3rdparty_in1k_20230213-d36779d2.pth',
            prefix='backbone.')),
    neck=dict(type='Feature2Pyramid', embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384))
# The class token gets no gradient.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=True)
