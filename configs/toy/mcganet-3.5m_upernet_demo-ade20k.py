# As lkca-3.5m_upernet_demo-ade20k.py, on an MCGANet with fewer blocks: 3.60M in the backbone.
_base_ = './mcganet_upernet_demo-ade20k.py'

model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=(32, 64, 128, 256),
            depths=(2, 2, 4, 2),
            num_heads=(2, 2, 4, 8),
            mlp_ratios=(4, 4, 4, 4))))
