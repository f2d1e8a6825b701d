# Copyright (c) mmvisionmix authors. All rights reserved.
"""The registered backbones and their base class."""
from .base import BaseBackbone
from .dualformer import DualFormer
from .linglo import LinGlo
from .lkca_vit import LKCAViT
from .mcganet import MCGANet

__all__ = ['BaseBackbone', 'DualFormer', 'LKCAViT', 'LinGlo', 'MCGANet']
