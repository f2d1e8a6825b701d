_base_ = './ade20k_20k.py'

train_cfg = dict(max_iters=10000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1000),
    dict(type='PolyLR', eta_min=0., power=1., begin=1000, end=10000, by_epoch=False)
]
