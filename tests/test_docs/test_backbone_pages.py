# Copyright (c) mmvisionmix authors. All rights reserved.
"""Tables on the pages of the backbones are what the code says."""
from pathlib import Path

import pytest

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, MCGANet

DOCS = Path(__file__).resolve().parent.parent.parent / 'docs'
PAGES = dict(lkca=LKCAViT, linglo=LinGlo, mcganet=MCGANet, dualformer=DualFormer)


@pytest.mark.parametrize('page', PAGES)
def test_table_of_sizes_has_the_settings_of_every_arch(page):
    text = (DOCS / f'{page}.md').read_text(encoding='utf-8')
    for arch, settings in PAGES[page].arch_settings.items():
        cells = [', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
                 for value in settings.values()]
        assert f'\n| `{arch}` | {" | ".join(cells)} |' in text
