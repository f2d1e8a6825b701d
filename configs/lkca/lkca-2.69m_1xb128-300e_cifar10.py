_base_ = [
    '../_base_/models/lkca_classifier.py', '../_base_/datasets/cifar10_autoaug.py',
    '../_base_/schedules/classification_300e.py'
]
