# Copyright (c) mmvisionmix authors. All rights reserved.
"""Modules that own parameters and call the functions of :mod:`mmvisionmix.ops`."""
from .channel_norm import ChannelNorm
from .conditional_positional_encoding import ConditionalPositionalEncoding
from .conv_ffn import ConvFFN
from .conv_norm import ConvNorm, DepthwiseConv2d
from .gelu import GELU
from .group_attention import GroupAttention
from .key_only_attention import KeyOnlyAttention
from .large_kernel_attention import LargeKernelAttention
from .mb_conv import MBConv, SqueezeExcitation
from .parameter_cache import ParameterCache, may_cache
from .partition_attention import PartitionAttention
from .position_embedding import PositionEmbedding, resize_pos_embed
from .self_attention import SelfAttention

__all__ = [
    'ChannelNorm', 'ConditionalPositionalEncoding', 'ConvFFN', 'ConvNorm', 'DepthwiseConv2d',
    'GELU', 'GroupAttention', 'KeyOnlyAttention', 'LargeKernelAttention', 'MBConv',
    'ParameterCache', 'PartitionAttention', 'PositionEmbedding', 'SelfAttention',
    'SqueezeExcitation', 'may_cache', 'resize_pos_embed'
]
