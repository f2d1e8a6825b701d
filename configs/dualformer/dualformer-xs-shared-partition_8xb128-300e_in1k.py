# Tokens are partitioned once, of all channels, as Section 3.2 words it; the others do so per head.
_base_ = './dualformer-xs_8xb128-300e_in1k.py'

model = dict(backbone=dict(share_partition=True))
