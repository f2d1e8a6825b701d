# A small LKCA-ViT with UPerNet that learns the demo data on a CPU in minutes; see README.md.
# Data: python tools/dataset_tools/make_demo_data.py ade20k --out data/demo/ade20k
_base_ = '../lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512.py'

crop_size = (128, 128)
channels = 128
num_classes = 10
norm_cfg = dict(type='BN')  # SyncBN would need a GPU per process
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=channels, num_layers=8, mlp_ratio=2),
        img_size=crop_size,
        patch_size=8,
        out_indices=(1, 3, 5, 7)),
    neck=dict(in_channels=[channels] * 4, out_channels=channels),
    decode_head=dict(
        in_channels=[channels] * 4, channels=64, num_classes=num_classes, norm_cfg=norm_cfg),
    auxiliary_head=dict(
        in_channels=channels, channels=64, num_classes=num_classes, norm_cfg=norm_cfg))

data = dict(
    type='BaseSegDataset',  # ADE20KDataset in all but its 150 class names
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=True,
    data_root='data/demo/ade20k',
    metainfo=dict(
        classes=('brick', 'grass', 'gravel', 'hubble', 'chelsea', 'coffee', 'tissue', 'retina',
                 'china', 'flower'),
        palette=[[188, 189, 34], [44, 160, 44], [127, 127, 127], [31, 119, 180], [255, 127, 14],
                 [140, 86, 75], [148, 103, 189], [214, 39, 40], [23, 190, 207], [227, 119, 194]]))
train_pipeline = [  # no PhotoMetricDistortion: colours tell many of these classes apart
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1., begin=50, end=600, by_epoch=False)
]
train_cfg = dict(max_iters=600, val_interval=200)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=200, max_keep_ckpts=2))
randomness = dict(seed=0)
