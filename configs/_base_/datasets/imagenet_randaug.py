# ImageNet in batches of 128. The MCGANet paper lists RandAugment, CutMix, Mixup and label smoothing
# as examples of augmentations "defined by" DeiT, PVT and Swin, which all erase a part of a quarter
# of the images too. The values are mmpretrain's for Swin; Mixup and CutMix are in the model.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
