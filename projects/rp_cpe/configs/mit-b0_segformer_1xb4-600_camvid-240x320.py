# The stock SegFormer-B0 on CamVid, from scratch: what RP-CPE is put into.
_base_ = [
    __import__('mmvisionmix') and 'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py', '../../../configs/_base_/datasets/camvid.py',
    '../../../configs/_base_/schedules/camvid_1500.py'
]

model = dict(
    data_preprocessor=dict(size=(240, 320)),
    decode_head=dict(channels=128, num_classes=11))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', eta_min=0., power=0.9, begin=100, end=600, by_epoch=False)
]
train_cfg = dict(max_iters=600)
