# Semantic FPN on MCGANet. Runs by the tools of mmvisionmix, and wherever it was imported before.
_base_ = 'mmvisionmix::mcganet/mcganet_fpn_4xb4-80k_ade20k-512x512.py'

materials = dict(type='example_project.Materials', data_root='data/materials')
train_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/train', seg_map_path='masks/train')))
val_dataloader = dict(dataset=dict(
    **materials, data_prefix=dict(img_path='images/val', seg_map_path='masks/val')))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=3))
