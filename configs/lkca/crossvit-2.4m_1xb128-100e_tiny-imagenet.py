_base_ = './crossvit-1m_1xb128-100e_tiny-imagenet.py'

model = dict(
    embed_dim=(96, 192), depth=((1, 1, 0), (1, 1, 0), (1, 1, 0)), mlp_ratio=(3, 3, 1))
