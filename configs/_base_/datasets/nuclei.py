# Nuclei of the Data Science Bowl 2018, after tools/dataset_tools/nuclei_to_coco.py; see
# docs/datasets.md. Pictures are of 256 x 256 to 1388 x 1040 pixels; they are scaled to fit
# 512 x 512, of which crops of 256 x 256 train.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

data = dict(data_root='data/nuclei', metainfo=dict(classes=('nucleus', ), palette=[(0, 158, 115)]))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256)),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **data,
        ann_file='annotations/train.json',
        data_prefix=dict(img=''),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        **data,
        ann_file='annotations/val.json',
        data_prefix=dict(img=''),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/nuclei/annotations/val.json')
test_evaluator = val_evaluator
