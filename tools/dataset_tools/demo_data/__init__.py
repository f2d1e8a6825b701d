# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small data sets of real photographs, written without any download.

They are made of ten photographs that ship inside scikit-image and scikit-learn. For segmentation
they are scenes, collages in which the label of a pixel is the photograph it was cut from; for
classification, views of a single photograph, which is the class; for detection, blobs of some
photographs before a background of another. SVHN's layout gets real handwritten digits instead. All
are written in the exact layout of the public data sets, so that the loading code of the OpenMMLab
packages runs on them unchanged.

- ``photographs``: the ten photographs, their credits, their train/val parts
- ``recipe``: how many pictures, and from which seed
- ``scenes``: random crops, wavy partitions, and collages made of both
- ``pictures``: views of single photographs
- ``blobs``: smooth random shapes, as polygons and masks
- ``objects``: pictures with objects: blobs filled with photographs
- ``folder``: writing into a folder without touching anyone's files
- ``ade20k``: the layout of ADE20K (semantic segmentation)
- ``panoptic``, ``key_points``: objects as COCO's tasks of these names have them
- ``coco``: the layout of COCO 2017 (detection, instance and panoptic segmentation, pose)
- ``cifar``: the layouts of CIFAR-10 and CIFAR-100 (classification)
- ``svhn``: the layout of SVHN (classification)
- ``image_folders``: the layouts of Tiny ImageNet and ImageNet (classification)
"""

from .ade20k import write_ade20k
from .cifar import write_cifar10, write_cifar100
from .coco import write_coco
from .image_folders import write_imagenet, write_tiny_imagenet
from .photographs import CLASSES, PALETTE, PHOTOGRAPHS, SPLITS, Photograph
from .recipe import Recipe
from .scenes import SceneRecipe
from .svhn import write_svhn

__all__ = [
    'CLASSES', 'PALETTE', 'PHOTOGRAPHS', 'SPLITS', 'Photograph', 'Recipe', 'SceneRecipe',
    'write_ade20k', 'write_cifar10', 'write_cifar100', 'write_coco', 'write_imagenet',
    'write_svhn', 'write_tiny_imagenet'
]
