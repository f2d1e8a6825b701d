# 300 epochs of AdamW with batches of 1024, 5 of them warm-up, cosine annealing. mmpretrain's
# schedule has these values; that vectors and position embeddings do not decay, and the last
# learning rate are customary.
_base_ = [
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_conformer.py',
    '../classification_runtime.py'
]

optim_wrapper = dict(
    paramwise_cfg=dict(
        flat_decay_mult=0.,
        custom_keys={
            '.position.weight': dict(decay_mult=0.),
            '.pos_embed': dict(decay_mult=0.),  # DeiT
            '.patch_pos': dict(decay_mult=0.),  # TNT
            '.pixel_pos': dict(decay_mult=0.),  # TNT
            '.relative_position_bias_table': dict(decay_mult=0.)  # Swin and CoAtNet
        }))
auto_scale_lr = dict(enable=False)
