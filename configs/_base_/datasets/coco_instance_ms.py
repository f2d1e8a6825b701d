# COCO with images of many sizes for training: the shorter side is 480 to 800 pixels, the longer one
# at most 1333. The DualFormer paper speaks of "multi-scale training inputs" and cites Swin and
# Sparse R-CNN, which both state this range. It does not name the random crop that mmdetection's
# Swin has as well.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

train_pipeline = [
    dict(
        type='RandomChoiceResize',
        scales=[(1333, shorter) for shorter in range(480, 801, 32)],
        keep_ratio=True) if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
