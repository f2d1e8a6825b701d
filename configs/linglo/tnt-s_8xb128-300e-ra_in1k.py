_base_ = './linglo-b0_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='TNT', arch='s', drop_path_rate=0.1),
    head=dict(in_channels=384))
