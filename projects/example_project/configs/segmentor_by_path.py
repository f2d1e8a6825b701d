# Semantic FPN on LinGlo-b0. Runs by any tool, if mmvisionmix's clone lies beside this project.
_base_ = '../../mmvisionmix/configs/fpn_linglo_b0_ade20k.py'

materials = dict(type='example_project.Materials', data_root='data/materials')
train_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/train', seg_map_path='masks/train')))
val_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/val', seg_map_path='masks/val')))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=3))
