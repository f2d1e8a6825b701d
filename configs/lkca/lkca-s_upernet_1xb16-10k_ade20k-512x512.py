_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/upernet_lkca-s.py',
    '../_base_/datasets/ade20k_top10.py', '../_base_/schedules/ade20k_10k.py'
]
