# The stock network trained on for as long as the one with RP-CPE: what that is compared with.
_base_ = './mit-b0_segformer_1xb4-600_camvid-240x320.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0., power=0.9, begin=30, end=300, by_epoch=False)
]
train_cfg = dict(max_iters=300, val_interval=300)
