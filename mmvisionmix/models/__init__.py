# Copyright (c) mmvisionmix authors. All rights reserved.
"""Backbones and the layers they are made of."""
from .backbones import BaseBackbone, DualFormer, LinGlo, LKCAViT, MCGANet
from .utils import find_backbones, switch_to_deploy

__all__ = [
    'BaseBackbone', 'DualFormer', 'LKCAViT', 'LinGlo', 'MCGANet', 'find_backbones',
    'switch_to_deploy'
]
