# Copyright (c) mmvisionmix authors. All rights reserved.
"""The mixers' mathematics: plain functions on tensors that import torch alone.

What takes decisions on shapes or devices is a leaf in graphs that torch.fx records.
"""
from .depthwise_statistics import depthwise_statistics
from .group_attention import (
    FoldedGroupWeights,
    attend,
    attend_to_groups,
    attend_to_tokens,
    fold_group_weights,
    head_mask,
    pool_groups,
    project_groups,
    propagate_groups,
)
from .key_only_attention import (
    FoldedKeyOnlyWeights,
    fold_key_only_weights,
    folded_key_only_attention,
    key_only_context,
    key_only_saliency,
)
from .large_kernel import (
    choose_large_kernel_impl,
    fit_kernel,
    large_kernel_mix,
    toeplitz_matrix,
)
from .partition_attention import (
    attend_between,
    attend_within,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    one_hot,
    partition_means,
    split_heads,
)
from .precision import full_precision

__all__ = [
    'FoldedGroupWeights', 'FoldedKeyOnlyWeights', 'attend', 'attend_between', 'attend_to_groups',
    'attend_to_tokens', 'attend_within', 'choose_large_kernel_impl', 'depthwise_statistics',
    'draw_hash_vectors', 'fit_kernel', 'fold_group_weights', 'fold_key_only_weights',
    'folded_key_only_attention', 'full_precision', 'hash_partition', 'head_mask',
    'key_only_context', 'key_only_saliency', 'kmeans_partition', 'large_kernel_mix', 'one_hot',
    'partition_means', 'pool_groups', 'project_groups', 'propagate_groups', 'split_heads',
    'toeplitz_matrix'
]
