# SegFormer's head on DualFormer-S: mmsegmentation's recipe of MiT-B0.
_base_ = [__import__('mmvisionmix') and
          'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.DualFormer',
        arch='s',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    decode_head=dict(in_channels=[64, 128, 320, 512]))
auto_scale_lr = dict(base_batch_size=16)
