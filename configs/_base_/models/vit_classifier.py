# The paper's ViT baseline for images of 32 x 32. It has a class token (Section III-B-3). Width,
# depth and heads are inferred from its parameter counts, and so are projections of queries, keys
# and values without bias; reference [11] has this very network. * as in lkca_classifier.py.
_base_ = './lkca_classifier.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=192, num_layers=9, num_heads=12, feedforward_channels=384),
        img_size=32,
        patch_size=4,
        qkv_bias=False,
        layer_cfgs=dict(drop_path_rate=0.1)),  # *
    neck=None,
    head=dict(type='VisionTransformerClsHead'))
