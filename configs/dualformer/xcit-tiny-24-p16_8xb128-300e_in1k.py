_base_ = './xcit-tiny-12-p16_8xb128-300e_in1k.py'

model = dict(backbone=dict(depth=24, layer_scale_init_value=1e-5, drop_path_rate=0.05))
