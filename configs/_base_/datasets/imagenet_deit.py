# ImageNet in batches of 128 with DeiT's augmentation, in mmpretrain's values. The DualFormer paper
# follows DeiT, "such as random flipping, mixup, and cutmix"; RandAugment, Random Erasing and three
# copies of each image (repeated augmentation), which DeiT has too, it does not name. MPViT, after
# which Table 1 of the paper is still headed, trains with all of them. Mixup and CutMix are in the
# model.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128, sampler=dict(type='RepeatAugSampler'))
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
