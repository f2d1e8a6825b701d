# LKCA-ViT for images of 32 x 32 with mean pooling, as in the paper. It names stochastic depth,
# label smoothing, Mixup and CutMix, and not their strength. Values marked * are those of the public
# recipe of its reference [11] ("Vision Transformer for Small-Size Datasets"), which has all values
# that the paper does state: the same stochastic depth in all blocks; Mixup on a quarter of the
# batches, CutMix on another, half left as they are.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.LKCAViT',
        arch='2.69m',
        img_size=32,
        patch_size=4,
        drop_path_rate=0.1,  # *
        uniform_drop_path=True),  # *
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=192,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=1.), dict(type='CutMix', alpha=1.)],  # *
        probs=[0.25, 0.25]))  # *
