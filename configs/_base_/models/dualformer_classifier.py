# DualFormer for images of 224 x 224. Values marked * are those of DeiT, which the paper follows: it
# names Mixup and CutMix, and not their strength. Label smoothing it does not name, and neither
# stochastic depth, which every size has as the MPViT of its size: none in T and XS, 0.05 in S and
# 0.3 in B. MPViT's sizes and schedule are the paper's, and Table 1 is still headed with its name.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.DualFormer',
        arch='xs',
        out_indices=-1,
        gap_before_norm=True),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=368,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),  # *
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.)]))  # *
