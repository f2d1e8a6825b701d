# Key points of people by heatmaps, top-down, on LinGlo-b0: mmpose's recipe of ResNet-50, with AdamW
# and a weight decay, which networks with layer norms want. Weights of ImageNet as in the others:
# --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvisionmix.LinGlo',
        arch='b0',
        out_indices=3,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.')),
    head=dict(in_channels=256))
optim_wrapper = dict(optimizer=dict(type='AdamW', weight_decay=0.01))
