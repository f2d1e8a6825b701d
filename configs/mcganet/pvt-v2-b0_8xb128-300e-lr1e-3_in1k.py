_base_ = './van-tiny_8xb128-300e-lr1e-3_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='TIMMBackbone', model_name='pvt_v2_b0', drop_path_rate=0.1))
