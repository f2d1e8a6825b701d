_base_ = [
    '../_base_/models/lkca_classifier.py', '../_base_/datasets/cifar10_images_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]

model = dict(backbone=dict(arch='0.5m'), head=dict(in_channels=100))
