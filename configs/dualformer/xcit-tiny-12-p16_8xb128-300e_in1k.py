# Stochastic depth is XCiT's own: none in T12, 0.05 in S12, 0.15 in M24; that of T24, which its code
# does not state, is that of S12.
_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='XCiT',
        embed_dims=192,
        depth=12,
        num_heads=4,
        tokens_norm=True),
    head=dict(in_channels=192))
