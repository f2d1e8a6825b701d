_base_ = [
    '../_base_/models/cait_classifier.py', '../_base_/datasets/cifar100_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]

model = dict(num_classes=100)
