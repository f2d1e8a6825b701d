# Copyright (c) mmvisionmix authors. All rights reserved.
"""Modules that own parameters and call the functions of :mod:`mmvisionmix.ops`."""
from .channel_norm import ChannelNorm
from .conditional_positional_encoding import ConditionalPositionalEncoding, make_encoding
from .conv_ffn import ConvFFN
from .conv_norm import ConvNorm
from .foldable import Foldable, are_plain
from .group_attention import GroupAttention
from .key_only_attention import KeyOnlyAttention
from .large_kernel_attention import LargeKernelAttention
from .mb_conv import MBConv, SqueezeExcitation
from .partition_attention import PartitionAttention
from .position_embedding import PositionEmbedding, resize_loaded, resize_pos_embed
from .self_attention import SelfAttention

__all__ = [
    'ChannelNorm', 'ConditionalPositionalEncoding', 'ConvFFN', 'ConvNorm', 'Foldable',
    'GroupAttention', 'KeyOnlyAttention', 'LargeKernelAttention', 'MBConv', 'PartitionAttention',
    'PositionEmbedding', 'SelfAttention', 'SqueezeExcitation', 'are_plain', 'make_encoding',
    'resize_loaded', 'resize_pos_embed'
]
