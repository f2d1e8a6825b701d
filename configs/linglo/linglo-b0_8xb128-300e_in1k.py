_base_ = [
    '../_base_/models/linglo_classifier.py', '../_base_/datasets/imagenet_repeat-aug.py',
    '../_base_/schedules/imagenet_300e.py'
]
