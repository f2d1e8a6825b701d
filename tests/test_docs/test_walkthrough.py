# Copyright (c) mmvisionmix authors. All rights reserved.
"""docs/walkthrough.py, on few and small images."""
import re
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).resolve().parent.parent.parent / 'docs/walkthrough.py'


def test_walkthrough_trains_tests_deploys_and_draws(run_tool, tmp_path):
    options = '--iterations', 10, '--size', 32, '--out', 'out'
    out = run_tool(SCRIPT, *options, cwd=tmp_path)
    found = re.search(r'mIoU ([\d.]+) %, deployed with a relative error of (\S+),', out)
    assert 0 < float(found.group(1)) <= 100 and float(found.group(2)) < 1e-5
    assert Image.open(tmp_path / 'out/predictions.png').size == (1100, 460)
    assert 'exists: remove it' in run_tool(SCRIPT, *options, cwd=tmp_path, fails=True)
