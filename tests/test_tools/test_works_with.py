# Copyright (c) mmvisionmix authors. All rights reserved.
"""Cells of docs/works_with.md: some here, all of them in the slow suite."""
import re
from importlib.util import find_spec

import pytest
import works_with
from works_with import BACKBONES, HEADS, PAGE, try_cell

FAST = [*(('FPN', backbone) for backbone in BACKBONES), ('RTMDet', 'LKCAViT'),
        ('Mask2Former, panoptic', 'LinGlo'), ('RetinaNet', 'MCGANet'), ('LoRA', 'DualFormer')]
CELLS = [
    pytest.param(head, backbone, marks=[
        *([] if (head, backbone) in FAST else [pytest.mark.slow]),
        pytest.mark.skipif(
            not find_spec(HEADS[head].package), reason=f'{HEADS[head].package} is an extra')])
    for head in HEADS for backbone in BACKBONES]


def written():
    """The table of the page: {head: {backbone: cell}}."""
    rows = [[cell.strip() for cell in line.strip('|\n').split('|')]
            for line in PAGE.read_text(encoding='utf-8').split(works_with.BEGIN)[1].splitlines()
            if line.startswith('| mm') or line.startswith('| package')]
    return {row[1]: dict(zip(rows[0][2:], row[2:])) for row in rows[1:]}


@pytest.mark.parametrize('head, backbone', CELLS)
def test_cell_is_what_the_page_says(head, backbone):
    assert (try_cell(head, backbone) == 'yes') == (written()[head][backbone] == 'yes')


def test_page_has_all_cells():
    assert {head: list(cells) for head, cells in written().items()} == {
        head: list(BACKBONES) for head in HEADS}


def test_cell_that_fails_says_why_and_whose_fault_it_is(monkeypatch, capsys):
    broken = HEADS['linear']._replace(options={'head.in_channels': 7}, channels={})
    monkeypatch.setitem(HEADS, 'linear', broken)
    monkeypatch.setitem(HEADS, 'FPN', HEADS['FPN']._replace(package='mmnothing'))
    assert works_with.main(['--heads', 'linear', 'FPN', '--backbones', 'LinGlo']) == 1
    out = capsys.readouterr().out
    assert re.search(r'linear +\| no \[1\]', out)
    assert re.search(r'\[1\] RuntimeError: .* \(mmpretrain/models/heads/\S+:\d+\)', out)
    assert '[2] mmnothing is not installed' in out
