_base_ = './xcit-small-12-p16_upernet_8xb4-80k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        depth=24,
        layer_scale_init_value=1e-5,
        drop_path_rate=0.1,
        out_indices=[7, 11, 15, 23],
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/xcit/'
            'xcit-small-24-p16_3rdparty_in1k_20230213-40febe38.pth')))
