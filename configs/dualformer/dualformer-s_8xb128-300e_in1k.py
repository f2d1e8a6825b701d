_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='s', drop_path_rate=0.05), head=dict(in_channels=512))
