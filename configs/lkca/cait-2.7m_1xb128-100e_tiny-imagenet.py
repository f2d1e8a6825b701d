_base_ = './cait-1m_1xb128-100e_tiny-imagenet.py'

model = dict(embed_dim=192, depth=7)
