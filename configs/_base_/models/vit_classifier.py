# The paper's ViT baseline for images of 32 x 32: class token, no bias in the query, key and value
# projections. Width, depth and heads are inferred from its parameter counts. * as in
# lkca_classifier.py.
_base_ = './lkca_classifier.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=192, num_layers=9, num_heads=12, feedforward_channels=384),
        img_size=32,
        patch_size=4,
        qkv_bias=False,
        drop_path_rate=0.1),  # *
    neck=None,
    head=dict(type='VisionTransformerClsHead'))
