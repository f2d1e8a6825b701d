# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Dict, List, Optional, Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS as MMSEG_MODELS
from torch import Tensor, nn

from .registry import MODELS


@MODELS.register_module()
class EdgeAwareHead(BaseDecodeHead):
    """Segments a pyramid's maps, and learns in passing where the classes meet.

    The maps are resized to the largest and fused by two convolutions. In training only, one more
    convolution tells pixels near the border of two classes from the others.

    Args:
        edge_width (int): Pixels this near to another class are an edge, in rows and in columns.
            Defaults to 2.
        edge_loss (dict, optional): Loss of the edges. It must leave out pixels that have neither
            0 nor 1 as their target. Defaults to mmsegmentation's ``BoundaryLoss``, which does.
        **kwargs: Those of ``BaseDecodeHead``; ``in_channels`` and ``in_index`` are lists.
    """

    def __init__(self,
                 edge_width: int = 2,
                 edge_loss: Optional[dict] = None,
                 **kwargs) -> None:
        super().__init__(input_transform='resize_concat', **kwargs)
        self.edge_width = edge_width
        layer = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.fuse = nn.Sequential(
            ConvModule(self.in_channels, self.channels, 1, **layer),
            ConvModule(self.channels, self.channels, 3, padding=1, **layer))
        self.edge_seg = nn.Conv2d(self.channels, 1, 1)
        self.edge_loss = MMSEG_MODELS.build(edge_loss or dict(type='BoundaryLoss', loss_weight=1.))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.cls_seg(self.features(inputs))

    def features(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.fuse(self._transform_inputs(inputs))

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: List, train_cfg: dict
             ) -> Dict[str, Tensor]:
        features = self.features(inputs)
        losses = self.loss_by_feat(self.cls_seg(features), batch_data_samples)
        labels = self._stack_batch_gt(batch_data_samples)
        logits = resize(
            self.edge_seg(features), labels.shape[2:], mode='bilinear',
            align_corners=self.align_corners)
        edges = class_edges(labels, self.edge_width, self.ignore_index)
        losses['loss_edge'] = self.edge_loss(logits, edges)
        return losses


def class_edges(labels: Tensor, width: int, ignore_index: int = 255) -> Tensor:
    """Marks the pixels near another class.

    Args:
        labels (Tensor): Classes (N, 1, H, W), int64; ``ignore_index`` where nothing is labelled.
        width (int): How near, in rows and in columns.
        ignore_index (int): See ``labels``.

    Returns:
        Tensor: 1 near another class, 0 elsewhere, and ``ignore_index`` where nothing is labelled.
    """
    unlabelled = labels == ignore_index

    def highest(values: Tensor) -> Tensor:
        known = values.float().masked_fill(unlabelled, float('-inf'))
        return F.max_pool2d(known, 2 * width + 1, stride=1, padding=width)

    edges = highest(labels) != -highest(-labels)
    return edges.long().masked_fill(unlabelled, ignore_index)
