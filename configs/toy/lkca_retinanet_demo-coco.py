# A small LKCA-ViT with RetinaNet that learns to find the demo data's objects on a CPU in minutes.
# Data: python tools/dataset_tools/make_demo_data.py coco --size 128 --train 400 --val 100 \
#     --out data/demo/coco128
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py'
]

size = (128, 128)
num_classes = 10
norm_cfg = dict(type='GN', num_groups=8)  # without any, RetinaNet learns slowly from scratch
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),  # all batches are of one size
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LKCAViT',
        arch=dict(embed_dims=264, num_layers=8, mlp_ratio=2),
        img_size=size,
        patch_size=8),
    neck=dict(  # maps at 1/8 to 1/64; what the backbone does not emit is made from its last map
        in_channels=[264], out_channels=64, start_level=0, num_outs=4,
        add_extra_convs='on_output', norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=num_classes,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(strides=[8, 16, 32, 64])))

data_root = 'data/demo/coco128/'
metainfo = dict(  # the only ones of COCO's 80 with objects
    classes=('person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
             'traffic light'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                          'scale_factor'))
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1., begin=50, end=600, by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=2, save_best='auto'))
randomness = dict(seed=0)
