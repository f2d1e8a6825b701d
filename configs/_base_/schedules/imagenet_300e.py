# 300 epochs of AdamW with batches of 1024, 5 of them warm-up, cosine annealing. mmpretrain's
# schedule has these values; that norms and biases do not decay, that position embeddings do not,
# and the last learning rate are customary.
_base_ = [
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_conformer.py',
    '../classification_runtime.py'
]

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.position.weight': dict(decay_mult=0.)}))
auto_scale_lr = dict(enable=False)
