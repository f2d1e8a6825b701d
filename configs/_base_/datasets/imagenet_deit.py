# ImageNet in batches of 128 with DeiT's augmentation, in mmpretrain's values. The DualFormer paper
# follows DeiT, and names flips, Mixup and CutMix as examples of what it uses; RandAugment and
# Random Erasing, which DeiT has too, it does not name. Mixup and CutMix are in the model.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
