# CIFAR-10 with the paper's augmentation. Images are RGB here. * as in the public recipe of the
# paper's reference [11]; the deviations are those of CIFAR-10's pixels, which mmpretrain's are not.
_base_ = ['mmpretrain::_base_/datasets/cifar10_bs16.py', './pipelines/auto_aug.py']

data_preprocessor = dict(std=[62.985, 62.093, 66.708])  # *
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
