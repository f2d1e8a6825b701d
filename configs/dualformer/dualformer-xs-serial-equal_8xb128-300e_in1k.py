# The serial network with the parameters of the parallel one, by narrower stages. The paper does not
# say which it compares.
_base_ = './dualformer-xs-serial_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=(64, 128, 288, 344),
            depths=(2, 2, 4, 2),
            reductions=(4, 2, 1, 1),
            mlp_ratios=(8, 8, 4, 4))),
    head=dict(in_channels=344))
