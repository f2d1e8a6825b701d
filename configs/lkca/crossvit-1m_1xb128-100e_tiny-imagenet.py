# timm's CrossViT. Widths, depths and the MLP ratio are inferred from the published parameters.
_base_ = './lkca-2.69m_1xb128-100e_tiny-imagenet.py'

model = dict(
    _delete_=True,
    type='TimmClassifier',
    model_name='crossvit_tiny_240',
    num_classes=200,
    img_size=64,
    img_scale=(1., 1.),
    patch_size=(8, 16),
    embed_dim=(48, 96),
    depth=((1, 3, 0), (1, 3, 0), (1, 3, 0)),
    mlp_ratio=(2, 2, 1),
    drop_path_rate=0.1,
    loss={{_base_.model.head.loss}},
    train_cfg={{_base_.model.train_cfg}})
