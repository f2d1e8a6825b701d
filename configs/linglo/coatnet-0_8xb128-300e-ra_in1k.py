_base_ = './r18_8xb128-300e-ra_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='TIMMBackbone', model_name='coatnet_0_224', drop_path_rate=0.2),
    head=dict(in_channels=768))
