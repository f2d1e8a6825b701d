_base_ = [
    '../_base_/models/dualformer_classifier.py', '../_base_/datasets/imagenet_deit.py',
    '../_base_/schedules/imagenet_300e_cool-down.py'
]
