_base_ = './van-tiny_8xb128-300e-lr1e-3_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='VisionTransformer', arch='deit-tiny', patch_size=16,
        drop_path_rate=0.1),
    neck=None,
    head=dict(type='VisionTransformerClsHead', in_channels=192))
