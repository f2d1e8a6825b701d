# RetinaNet on LinGlo-b0. Runs by any tool.
_base_ = [__import__('mmvisionmix').config_path('retinanet_linglo_b0_coco')]

boxes = dict(
    data_root='data/boxes/',
    metainfo=dict(
        classes=('brick', 'grass', 'gravel'),  # names of categories in the annotation files
        palette=[(188, 189, 34), (44, 160, 44), (127, 127, 127)]))
train_dataloader = dict(dataset=dict(
    **boxes, ann_file='annotations/train.json', data_prefix=dict(img='train/')))
val_dataloader = dict(dataset=dict(
    **boxes, ann_file='annotations/val.json', data_prefix=dict(img='val/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/boxes/annotations/val.json')
test_evaluator = val_evaluator
model = dict(bbox_head=dict(num_classes=3))
