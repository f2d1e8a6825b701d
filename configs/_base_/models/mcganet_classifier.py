# MCGANet for images of 224 x 224. Values marked * are customary: the paper names label smoothing,
# Mixup and CutMix, and not their strength. It does not describe the head: the hidden layer is
# inferred from the parameters, and what is marked + is customary too, MobileNetV3's, which has the
# same layer. There is no stochastic depth, as the paper names none.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmvisionmix.MCGANet', out_indices=-1, gap_before_norm=True),
    head=dict(
        type='StackedLinearClsHead',
        num_classes=1000,
        in_channels=256,
        mid_channels=[1280],
        act_cfg=dict(type='HSwish'),  # +
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),  # +
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.)]))  # *
