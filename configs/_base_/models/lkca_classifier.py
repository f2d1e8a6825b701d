# LKCA-ViT for images of 32 x 32 with mean pooling, as in the paper. Values marked * are customary:
# the paper names stochastic depth, label smoothing, Mixup and CutMix, and not their strength.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.LKCAViT',
        arch='2.69m',
        img_size=32,
        patch_size=4,
        drop_path_rate=0.1),  # *
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=192,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(augments=[dict(type='Mixup', alpha=1.), dict(type='CutMix', alpha=1.)]))  # *
