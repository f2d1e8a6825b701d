# Copyright (c) mmvisionmix authors. All rights reserved.
from mmseg.datasets import BaseSegDataset

from .registry import DATASETS


@DATASETS.register_module()
class Materials(BaseSegDataset):
    """Images (``.jpg``) and, under the same names, masks (``.png``) of three classes.

    A mask's pixels are 0 where nothing is labelled, else the number of the class, from 1: the
    convention of ADE20K, whose pipelines the configs inherit.
    """
    METAINFO = dict(
        classes=('brick', 'grass', 'gravel'),
        palette=[[188, 189, 34], [44, 160, 44], [127, 127, 127]])

    def __init__(self, reduce_zero_label: bool = True, **kwargs) -> None:
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)
