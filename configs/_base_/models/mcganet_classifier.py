# MCGANet for images of 224 x 224. Values marked * are those of DeiT, PVT and Swin, which the paper
# refers to: it names label smoothing, Mixup and CutMix without their strength, and stochastic depth
# not at all. It does not describe the head: the hidden layer is inferred from the parameters, and
# what is marked + is customary, MobileNetV3's, which has the same layer.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.MCGANet',
        out_indices=-1,
        drop_path_rate=0.1,  # * DeiT-T and PVT-T; Swin-T has 0.2
        gap_before_norm=True),
    head=dict(
        type='StackedLinearClsHead',
        num_classes=1000,
        in_channels=256,
        mid_channels=[1280],
        act_cfg=dict(type='HSwish'),  # +
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),  # +
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.)]))  # *
