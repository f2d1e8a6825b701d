# As lkca_upernet_demo-ade20k.py, on DualFormer-T. All checkpoints are kept, to see how partitions
# form; see docs/gallery.md.
_base_ = './lkca_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.DualFormer', arch='t'),
    neck=dict(in_channels=[64, 128, 256, 320]))
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=-1))
