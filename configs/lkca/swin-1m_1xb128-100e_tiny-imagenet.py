_base_ = [
    '../_base_/models/swin_classifier.py', '../_base_/datasets/tiny-imagenet_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]

model = dict(backbone=dict(img_size=64, patch_size=4), head=dict(num_classes=200))
