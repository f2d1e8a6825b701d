# ADE20K in batches of 16, evaluated as we read the LKCA paper: by the model's ten best classes.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(enable=False, base_batch_size=16)
val_evaluator = dict(type='mmvisionmix.TopKIoUMetric', top_k=10)
test_evaluator = val_evaluator
