# Copyright (c) mmvisionmix authors. All rights reserved.
"""How torch's FullyShardedDataParallel divides the backbones."""
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from mmvisionmix.models.backbones.linglo import ConvBlock, HybridBlock
from mmvisionmix.models.backbones.lkca_vit import LKCABlock
from mmvisionmix.models.backbones.pyramid import PreNormBlock

# An ``auto_wrap_policy``: every block is a unit. In units smaller than that, parameters are not
# there where a layer reads those of the layers it is made of.
wrap_blocks = ModuleWrapPolicy({LKCABlock, PreNormBlock, HybridBlock, ConvBlock})
