_base_ = 'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4))
