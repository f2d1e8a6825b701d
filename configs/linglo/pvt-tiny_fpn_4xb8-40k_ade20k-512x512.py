_base_ = [
    '../_base_/segmentation_runtime.py', '../_base_/models/fpn_pvt-tiny.py',
    '../_base_/datasets/ade20k_bs8.py', '../_base_/schedules/semantic-fpn_40k.py'
]
