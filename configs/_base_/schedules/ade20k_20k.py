# 20k iterations. The paper names neither optimiser nor learning rate nor warm-up for segmentation:
# these are mmsegmentation's for ViT, Twins and Swin, here for every backbone. Shorter runs warm up
# for the same 1500 iterations, but for a tenth of the run at most.
_base_ = 'mmseg::_base_/schedules/schedule_20k.py'

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.),  # ViT and LKCA
            cls_token=dict(decay_mult=0.),  # ViT
            pos_block=dict(decay_mult=0.),  # Twins
            relative_position_bias_table=dict(decay_mult=0.),  # Swin
            norm=dict(decay_mult=0.),
            ln1=dict(decay_mult=0.),  # ViT
            ln2=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1., begin=1500, end=20000, by_epoch=False)
]
