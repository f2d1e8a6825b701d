_base_ = [
    '../_base_/models/cait_classifier.py', '../_base_/datasets/svhn_autoaug.py',
    '../_base_/schedules/classification_100e.py'
]
