# A second reading of the paper's 100 epochs. The public recipe of its reference [11] has all values
# that the paper states. Its "repeated augmentation 3" repeats no image: it makes an epoch of three
# passes over the data. 100 such epochs are 300 passes, 30 of them warm-up. * as there.
_base_ = './classification_100e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=30, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=270, eta_min=1e-6, by_epoch=True, begin=30, end=300)  # *
]
train_cfg = dict(max_epochs=300, val_interval=3)
