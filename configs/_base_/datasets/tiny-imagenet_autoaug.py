# Tiny-ImageNet with the paper's augmentation. Files are loaded as BGR. * as in the public recipe of
# the paper's reference [11]; mean and deviation are those of Tiny-ImageNet's pixels.
bgr_mean = [101.363, 114.266, 122.451]  # *
data_preprocessor = dict(
    num_classes=200, mean=bgr_mean[::-1], std=[70.635, 68.621, 71.936], to_rgb=True)  # *
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=64, padding=4),  # *
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='AutoAugment', policies='imagenet'),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        max_area_ratio=0.4,
        aspect_range=0.3,
        fill_color=bgr_mean),
    dict(type='PackInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
tiny_imagenet = dict(type='mmvisionmix.TinyImageNet', data_root='data/tiny-imagenet-200')
train_dataloader = dict(
    batch_size=128, num_workers=4, persistent_workers=True,
    dataset=dict(**tiny_imagenet, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=128, num_workers=4, persistent_workers=True,
    dataset=dict(**tiny_imagenet, split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
