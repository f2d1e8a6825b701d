# SVHN with the paper's augmentation, flips of digits included. Images are RGB here. * as in the
# public recipe of the paper's reference [11].
_base_ = ['mmpretrain::_base_/datasets/cifar10_bs16.py', './pipelines/auto_aug.py']

data_preprocessor = dict(mean=[111.61, 113.16, 120.57], std=[50.50, 51.26, 50.24])  # *
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),  # *
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='AutoAugment', policies={{_base_.policy_svhn}}),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        max_area_ratio=0.4,
        aspect_range=0.3,
        fill_color=data_preprocessor['mean']),
    dict(type='PackInputs')
]
svhn = dict(type='mmvisionmix.SVHN', data_root='data/svhn')
train_dataloader = dict(
    batch_size=128, num_workers=4, persistent_workers=True,
    dataset=dict(**svhn, pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=4, persistent_workers=True, dataset=svhn)
test_dataloader = val_dataloader
