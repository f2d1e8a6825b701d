# COCO with images of many sizes for training: the shorter side is 640 to 800 pixels, the longer one
# at most 1333. The DualFormer paper follows "the train and validation recipe of PVT", whose longer
# schedule states this range. The caption of its Table 3 says "multi-scale training inputs" and
# cites Swin and Sparse R-CNN, which draw from 480 to 800, and crop some images first; for that
# range:
#     --cfg-options "train_dataloader.dataset.pipeline.2.scale=[(1333,480),(1333,800)]"
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

train_pipeline = [
    dict(type='RandomResize', scale=[(1333, 640), (1333, 800)], keep_ratio=True)
    if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
