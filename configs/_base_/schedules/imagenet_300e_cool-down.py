# 300 epochs of AdamW with batches of 1024, 5 of them warm-up and the last 10 cool-down, in which
# the learning rate stays as low as the cosine left it. The paper states these values, and 5e-4:
# DeiT, which it follows, has that number too and doubles it for batches of 1024; of that the paper
# says nothing. As in the base, the last learning rate is customary, and so is what does not decay.
_base_ = './imagenet_300e.py'

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=285, eta_min=1e-5, by_epoch=True, begin=5, end=290),
    dict(type='ConstantLR', factor=1., by_epoch=True, begin=290, end=300)
]
