# 80k iterations of AdamW with batches of 32, for UPerNet. The paper states these values and the
# weight decay, and follows PVT: the decay of the learning rate and the lack of a warm-up are PVT's.
_base_ = './semantic-fpn_80k.py'

auto_scale_lr = dict(base_batch_size=32)
