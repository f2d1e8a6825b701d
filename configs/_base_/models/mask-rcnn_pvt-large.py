_base_ = './mask-rcnn_pvt-tiny.py'

model = dict(
    backbone=dict(
        num_layers=[3, 8, 27, 3],
        init_cfg=dict(
            checkpoint='https://github.com/whai362/PVT/releases/download/v2/pvt_large.pth')))
