# Mask R-CNN on nuclei, from scratch; anchors of 8 to 256 pixels, and up to 300 nuclei in a picture.
# Heads are a quarter as wide and see a quarter of the regions, for a laptop's sake.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/datasets/nuclei.py',
    '../_base_/schedules/detection_1000.py'
]

model = dict(
    backbone=dict(_delete_=True, type='mmvisionmix.MCGANet'),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(
        in_channels=64, feat_channels=64, anchor_generator=dict(scales=[2, 4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        mask_roi_extractor=dict(out_channels=64),
        bbox_head=dict(num_classes=1, in_channels=64, fc_out_channels=512),
        mask_head=dict(num_classes=1, in_channels=64, conv_out_channels=64)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rcnn=dict(max_per_img=300)))
