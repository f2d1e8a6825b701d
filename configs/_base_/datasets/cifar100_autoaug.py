# CIFAR-100 with the paper's augmentation, the policy of CIFAR-10 among it. * a customary value.
_base_ = ['mmpretrain::_base_/datasets/cifar100_bs16.py', './pipelines/auto_aug.py']

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),  # *
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='AutoAugment', policies={{_base_.policy_cifar10}}),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        max_area_ratio=0.4,
        aspect_range=0.3,
        fill_color={{_base_.data_preprocessor.mean}}),
    dict(type='PackInputs')
]
train_dataloader = dict(
    batch_size=128, num_workers=4, persistent_workers=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=4, persistent_workers=True)
test_dataloader = val_dataloader
