# ImageNet in batches of 128 with RandAugment as the MCGANet paper lists it, and no Random Erasing,
# which it does not list. The crop, the flip and RandAugment's strength are customary: mmpretrain's
# for Swin.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomErasing']
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
