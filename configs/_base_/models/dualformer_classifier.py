# DualFormer for images of 224 x 224. Values marked * are those of DeiT, which the paper follows: it
# names Mixup and CutMix, and not their strength. Label smoothing and stochastic depth it does not
# name.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.DualFormer',
        arch='xs',
        out_indices=-1,
        gap_before_norm=True,
        drop_path_rate=0.1),  # *
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=368,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.)]))  # *
