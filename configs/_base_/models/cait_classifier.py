# timm's CaiT for images of 32 x 32. Nothing but the published parameters tells its width and depth;
# the MLP ratio of 2 is that of the paper's reference [11], the layer scale CaiT's own for so few
# layers.
_base_ = './lkca_classifier.py'

model = dict(
    _delete_=True,
    type='TimmClassifier',
    model_name='cait_xxs24_224',
    num_classes=10,
    img_size=32,
    patch_size=4,
    embed_dim=96,
    depth=11,
    mlp_ratio=2,
    mlp_ratio_token_only=2,
    init_values=0.1,
    drop_path_rate=0.1,
    loss={{_base_.model.head.loss}},
    train_cfg={{_base_.model.train_cfg}})
