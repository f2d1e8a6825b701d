# Mask R-CNN on LKCA-S, whose maps of one size mmsegmentation's neck makes a pyramid of; see
# docs/works_with.md. Kernels are as large as images of either orientation; smaller
# ones crop them.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmdet::_base_/datasets/coco_instance.py',
          'mmdet::_base_/default_runtime.py', '../_base_/schedules/coco_1x.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LKCAViT',
        arch='s',
        img_size=1344,
        out_indices=(2, 5, 8, 11),
        drop_path_rate=0.1),
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=384, rescales=[4, 2, 1, 0.5]),
        dict(type='FPN', in_channels=[384] * 4, out_channels=256, num_outs=5)
    ])
