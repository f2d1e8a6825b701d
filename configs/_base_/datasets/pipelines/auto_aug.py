# AutoAugment policies for CIFAR-10 and SVHN, from the appendix of Cubuk et al., CVPR 2019,
# https://arxiv.org/abs/1805.09501. mmpretrain has the one for ImageNet (policies='imagenet').
# To use one:
#     _base_ = ['.../pipelines/auto_aug.py']
#     dict(type='AutoAugment', policies={{_base_.policy_cifar10}})
# mmpretrain 1.2.0 hands AutoAugment's `hparams` on to no operation, so what a rotation or a shift
# lays bare takes each operation's own default, grey (128), which is near the mean colour.


# One operation of the paper's tables. Its magnitude, 0 to 9, spans the operation's range
# linearly, as in mmpretrain's policy for ImageNet and in torchvision. Shifts are shares of the
# side: the paper's 150 pixels, for images of 331. Shears, shifts, rotations and changes of colour,
# contrast, brightness and sharpness go either way at random: `random_negative_prob` is 0.5.
def op(name, prob, magnitude=0):
    share = magnitude / 9
    return {
        'ShearX': dict(type='Shear', direction='horizontal', magnitude=0.3 * share, prob=prob),
        'ShearY': dict(type='Shear', direction='vertical', magnitude=0.3 * share, prob=prob),
        'TranslateX': dict(
            type='Translate', direction='horizontal', magnitude=150 / 331 * share, prob=prob),
        'TranslateY': dict(
            type='Translate', direction='vertical', magnitude=150 / 331 * share, prob=prob),
        'Rotate': dict(type='Rotate', angle=30 * share, prob=prob),
        'Color': dict(type='ColorTransform', magnitude=0.9 * share, prob=prob),
        'Contrast': dict(type='Contrast', magnitude=0.9 * share, prob=prob),
        'Brightness': dict(type='Brightness', magnitude=0.9 * share, prob=prob),
        'Sharpness': dict(type='Sharpness', magnitude=0.9 * share, prob=prob),
        'Posterize': dict(type='Posterize', bits=round(8 - 4 * share), prob=prob),
        'Solarize': dict(type='Solarize', thr=256 * (1 - share), prob=prob),
        'AutoContrast': dict(type='AutoContrast', prob=prob),
        'Equalize': dict(type='Equalize', prob=prob),
        'Invert': dict(type='Invert', prob=prob),
    }[name]


policy_cifar10 = [
    [op('Invert', 0.1), op('Contrast', 0.2, 6)],
    [op('Rotate', 0.7, 2), op('TranslateX', 0.3, 9)],
    [op('Sharpness', 0.8, 1), op('Sharpness', 0.9, 3)],
    [op('ShearY', 0.5, 8), op('TranslateY', 0.7, 9)],
    [op('AutoContrast', 0.5), op('Equalize', 0.9)],
    [op('ShearY', 0.2, 7), op('Posterize', 0.3, 7)],
    [op('Color', 0.4, 3), op('Brightness', 0.6, 7)],
    [op('Sharpness', 0.3, 9), op('Brightness', 0.7, 9)],
    [op('Equalize', 0.6), op('Equalize', 0.5)],
    [op('Contrast', 0.6, 7), op('Sharpness', 0.6, 5)],
    [op('Color', 0.7, 7), op('TranslateX', 0.5, 8)],
    [op('Equalize', 0.3), op('AutoContrast', 0.4)],
    [op('TranslateY', 0.4, 3), op('Sharpness', 0.2, 6)],
    [op('Brightness', 0.9, 6), op('Color', 0.2, 8)],
    [op('Solarize', 0.5, 2), op('Invert', 0.0)],
    [op('Equalize', 0.2), op('AutoContrast', 0.6)],
    [op('Equalize', 0.2), op('Equalize', 0.6)],
    [op('Color', 0.9, 9), op('Equalize', 0.6)],
    [op('AutoContrast', 0.8), op('Solarize', 0.2, 8)],
    [op('Brightness', 0.1, 3), op('Color', 0.7, 0)],
    [op('Solarize', 0.4, 5), op('AutoContrast', 0.9)],
    [op('TranslateY', 0.9, 9), op('TranslateY', 0.7, 9)],
    [op('AutoContrast', 0.9), op('Solarize', 0.8, 3)],
    [op('Equalize', 0.8), op('Invert', 0.1)],
    [op('TranslateY', 0.7, 9), op('AutoContrast', 0.9)],
]

policy_svhn = [
    [op('ShearX', 0.9, 4), op('Invert', 0.2)],
    [op('ShearY', 0.9, 8), op('Invert', 0.7)],
    [op('Equalize', 0.6), op('Solarize', 0.6, 6)],
    [op('Invert', 0.9), op('Equalize', 0.6)],
    [op('Equalize', 0.6), op('Rotate', 0.9, 3)],
    [op('ShearX', 0.9, 4), op('AutoContrast', 0.8)],
    [op('ShearY', 0.9, 8), op('Invert', 0.4)],
    [op('ShearY', 0.9, 5), op('Solarize', 0.2, 6)],
    [op('Invert', 0.9), op('AutoContrast', 0.8)],
    [op('Equalize', 0.6), op('Rotate', 0.9, 3)],
    [op('ShearX', 0.9, 4), op('Solarize', 0.3, 3)],
    [op('ShearY', 0.8, 8), op('Invert', 0.7)],
    [op('Equalize', 0.9), op('TranslateY', 0.6, 6)],
    [op('Invert', 0.9), op('Equalize', 0.6)],
    [op('Contrast', 0.3, 3), op('Rotate', 0.8, 4)],
    [op('Invert', 0.8), op('TranslateY', 0.0, 2)],
    [op('ShearY', 0.7, 6), op('Solarize', 0.4, 8)],
    [op('Invert', 0.6), op('Rotate', 0.8, 4)],
    [op('ShearY', 0.3, 7), op('TranslateX', 0.9, 3)],
    [op('ShearX', 0.1, 6), op('Invert', 0.6)],
    [op('Solarize', 0.7, 2), op('TranslateY', 0.6, 7)],
    [op('ShearY', 0.8, 4), op('Invert', 0.8)],
    [op('ShearX', 0.7, 9), op('TranslateY', 0.8, 3)],
    [op('ShearY', 0.8, 5), op('AutoContrast', 0.7)],
    [op('ShearX', 0.7, 2), op('Invert', 0.1)],
]
