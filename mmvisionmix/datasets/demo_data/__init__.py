# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small data sets of real photographs, written without any download.

Scenes are collages of ten photographs that ship inside scikit-image and scikit-learn, and the
label of a pixel is the photograph it was cut from. They are written in the exact layout of the
public data sets, so that the loading code of the OpenMMLab packages runs on them unchanged.

=====================  =======================================================
``photographs``        the ten photographs, their credits, their train/val parts
``scenes``             random crops, wavy partitions, and collages made of both
``owned_folder``       writing into a folder without touching anyone's files
``ade20k``             the layout of ADE20K (semantic segmentation)
=====================  =======================================================
"""

from .ade20k import write_ade20k
from .photographs import CLASSES, PALETTE, PHOTOGRAPHS, SPLITS, Photograph
from .scenes import SceneRecipe

__all__ = [
    'CLASSES', 'PALETTE', 'PHOTOGRAPHS', 'SPLITS', 'Photograph', 'SceneRecipe', 'write_ade20k'
]
