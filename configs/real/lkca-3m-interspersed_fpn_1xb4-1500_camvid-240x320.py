# LKCA-3M, of which every third block keeps softmax self-attention.
_base_ = './lkca-3m_fpn_1xb4-1500_camvid-240x320.py'

model = dict(backbone=dict(attention_layers=(2, 5)))
