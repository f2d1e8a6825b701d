# Copyright (c) mmvisionmix authors. All rights reserved.
"""The registered backbones and their base class."""
from .base import BaseBackbone
from .lkca_vit import LKCAViT

__all__ = ['BaseBackbone', 'LKCAViT']
