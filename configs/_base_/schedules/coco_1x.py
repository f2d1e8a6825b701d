# 12 epochs of AdamW with batches of 16. The weight decay and the warm-up, which the papers leave
# open, are those of mmdetection's PVT.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4))
