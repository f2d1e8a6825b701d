_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/upernet_twins-pcpvt-s.py',
    '../_base_/datasets/ade20k_top10.py', '../_base_/schedules/ade20k_20k.py'
]
