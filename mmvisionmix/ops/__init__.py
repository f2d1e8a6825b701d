# Copyright (c) mmvisionmix authors. All rights reserved.
"""The mixers' mathematics: plain functions on tensors that import torch alone."""
from .conv_gelu import fused_conv_gelu, may_fuse_gelu
from .depthwise import depthwise_conv
from .depthwise_statistics import depthwise_statistics
from .group_attention import (
    FoldedGroupWeights,
    GroupAttentionMaps,
    GroupAttentionWeights,
    PropagationWeights,
    check_group_attention_impl,
    fold_group_weights,
    group_attention,
    group_attention_maps,
)
from .key_only_attention import (
    FoldedKeyOnlyWeights,
    KeyOnlyWeights,
    check_key_only_impl,
    choose_key_only_impl,
    fold_key_only_weights,
    key_only_attention,
    key_only_saliency,
)
from .large_kernel import (
    check_large_kernel_impl,
    choose_large_kernel_impl,
    fit_kernel,
    large_kernel_mix,
    toeplitz_matrix,
)
from .partition_attention import (
    PartitionAttentionWeights,
    check_partition_attention_impl,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    partition_attention,
)
from .precision import full_precision
from .recording import is_recording
from .reparam import (
    BatchNormStatistics,
    Convolution,
    add_parallel,
    depthwise_identity,
    fold_batch_norm,
)

__all__ = [
    'BatchNormStatistics', 'Convolution', 'FoldedGroupWeights', 'FoldedKeyOnlyWeights',
    'GroupAttentionMaps', 'GroupAttentionWeights', 'KeyOnlyWeights', 'PartitionAttentionWeights',
    'PropagationWeights', 'add_parallel', 'check_group_attention_impl', 'check_key_only_impl',
    'check_large_kernel_impl', 'check_partition_attention_impl', 'choose_key_only_impl',
    'choose_large_kernel_impl', 'depthwise_conv', 'depthwise_identity', 'depthwise_statistics',
    'draw_hash_vectors', 'fit_kernel', 'fold_batch_norm', 'fold_group_weights',
    'fold_key_only_weights', 'full_precision', 'fused_conv_gelu', 'group_attention',
    'group_attention_maps', 'hash_partition', 'is_recording', 'key_only_attention',
    'key_only_saliency', 'kmeans_partition', 'large_kernel_mix', 'may_fuse_gelu',
    'partition_attention', 'toeplitz_matrix'
]
