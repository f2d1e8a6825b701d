# Semantic FPN on MCGANet with a head of this project. Runs by any tool.
_base_ = [__import__('mmvisionmix').config_path('fpn_mcganet_ade20k')]

materials = dict(type='example_project.Materials', data_root='data/materials')
train_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/train', seg_map_path='masks/train')))
val_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/val', seg_map_path='masks/val')))
test_dataloader = val_dataloader
model = dict(
    decode_head=dict(
        _delete_=True,
        type='example_project.EdgeAwareHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        channels=128,
        num_classes=3,
        norm_cfg=dict(type='SyncBN', requires_grad=True)))
