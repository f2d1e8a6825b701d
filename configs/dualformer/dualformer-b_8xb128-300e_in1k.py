_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='b', drop_path_rate=0.3), head=dict(in_channels=560))
