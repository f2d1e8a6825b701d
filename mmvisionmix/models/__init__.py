# Copyright (c) mmvisionmix authors. All rights reserved.
"""Backbones and the layers they are made of."""
from .backbones import BaseBackbone, LKCAViT

__all__ = ['BaseBackbone', 'LKCAViT']
