_base_ = [
    '../_base_/models/mcganet_classifier.py', '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/imagenet_300e.py'
]

# Group tokens do not decay, as class tokens and position embeddings customarily do not.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.tokens': dict(decay_mult=0.)}))
