_base_ = [
    '../_base_/models/vit_classifier.py', '../_base_/datasets/cifar10_images_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]

model = dict(
    backbone=dict(
        arch=dict(embed_dims=80, num_layers=6, num_heads=5, feedforward_channels=320)),
    head=dict(in_channels=80))
