# Copyright (c) mmvisionmix authors. All rights reserved.
"""Pictures and tables on the pages of the backbones are what the code says."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, MCGANet

DOCS = Path(__file__).resolve().parent.parent.parent / 'docs'
PAGES = dict(lkca=LKCAViT, linglo=LinGlo, mcganet=MCGANet, dualformer=DualFormer)


def test_pictures_are_what_the_script_draws(run_tool, tmp_path):
    run_tool(DOCS / 'draw/ideas.py', '--out', tmp_path, cwd=tmp_path)
    for name in PAGES:
        shown = DOCS / 'images' / f'{name}_idea.png'
        drawn, kept = (np.asarray(Image.open(path).convert('RGB'), dtype=float)
                       for path in (tmp_path / shown.name, shown))
        assert drawn.shape == kept.shape
        assert abs(drawn - kept).mean() < 5  # other versions of matplotlib move edges
        assert shown.stat().st_size < 100_000 and shown.name in (DOCS / f'{name}.md').read_text()


@pytest.mark.parametrize('page', PAGES)
def test_table_of_sizes_has_the_settings_of_every_arch(page):
    lines = (DOCS / f'{page}.md').read_text(encoding='utf-8').splitlines()
    for arch, settings in PAGES[page].arch_settings.items():
        cells = [', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
                 for value in settings.values()]
        assert f'| `{arch}` | {" | ".join(cells)} |' in lines
