_base_ = [
    '../_base_/segmentation_runtime.py', 'mmseg::_base_/models/twins_pcpvt-s_fpn.py',
    '../_base_/datasets/ade20k_bs8.py', '../_base_/schedules/semantic-fpn_40k.py'
]

model = dict(data_preprocessor=dict(size=(512, 512)))
