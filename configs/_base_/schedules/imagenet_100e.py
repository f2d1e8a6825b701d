# The schedule of the ablations: 100 epochs, 3 of them warm-up.
_base_ = './imagenet_300e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=3, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=97, eta_min=1e-5, by_epoch=True, begin=3, end=100)
]
train_cfg = dict(max_epochs=100)
