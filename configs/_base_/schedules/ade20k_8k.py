_base_ = './ade20k_20k.py'

train_cfg = dict(max_iters=8000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=800),
    dict(type='PolyLR', eta_min=0., power=1., begin=800, end=8000, by_epoch=False)
]
