_base_ = [
    '../_base_/models/cait_classifier.py', '../_base_/datasets/tiny-imagenet_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]

model = dict(num_classes=200, img_size=64, patch_size=8)
