# Copyright (c) mmvisionmix authors. All rights reserved.
"""The rooms of the package and the one way in which they import each other."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'mmvisionmix'
# What each room may import, beside itself, torch, the standard library and numpy.
MAY_IMPORT = {
    'ops': set(),
    'models/layers': {'mmengine', 'mmcv', 'mmvisionmix.ops'},
    'models/backbones': {'mmengine', 'mmcv', 'mmvisionmix.ops', 'mmvisionmix.models.layers',
                         'mmvisionmix.registry'},
    'models': set(),
    'engine': {'mmengine', 'mmvisionmix.datasets', 'mmvisionmix.models', 'mmvisionmix.registry'},
    'visualization': {'mmvisionmix.models'},
    'evaluation': {'mmengine', 'mmseg', 'mmvisionmix.registry'},
    'datasets': {'mmengine', 'PIL', 'pycocotools', 'skimage', 'sklearn', 'scipy'},
    'datasets/classification': {'mmengine', 'mmpretrain', 'scipy', 'mmvisionmix.registry'},
}
ALWAYS = {'torch', 'numpy', *(getattr(sys, 'stdlib_module_names', ()))}


def files_of(room):
    """The files of a room, without those of the rooms inside it."""
    inner = [PACKAGE / other for other in MAY_IMPORT if other.startswith(room + '/')]
    return [file for file in (PACKAGE / room).rglob('*.py') if not set(inner) & set(file.parents)]


def imported_modules(file):
    """Absolute names of all modules that a file imports."""
    package = ('mmvisionmix', *file.parent.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else ()
            yield '.'.join((*above, *([node.module] if node.module else ())))


@pytest.mark.skipif(
    sys.version_info < (3, 10), reason='sys.stdlib_module_names came with Python 3.10')
@pytest.mark.parametrize('room', MAY_IMPORT)
def test_rooms_import_downwards_only(room):
    own = 'mmvisionmix.' + room.replace('/', '.')
    allowed = (*MAY_IMPORT[room], own)
    assert files_of(room)
    for file in files_of(room):
        for name in imported_modules(file):
            assert name.partition('.')[0] in ALWAYS or name.startswith(allowed), (file, name)


def test_package_and_backbones_do_without_codebases_and_compiled_operators():
    """With mmcv-lite, and without mmsegmentation, mmdetection and mmpretrain."""
    code = ('import sys\n'
            'for name in ("mmcv._ext", "mmseg", "mmdet", "mmpretrain"): sys.modules[name] = None\n'
            'import torch\n'
            'from mmengine.registry import MODELS\n'
            'model = MODELS.build(dict(type="mmvisionmix.LKCAViT", arch="0.5m", img_size=32))\n'
            'print(tuple(model(torch.rand(1, 3, 32, 32))[0].shape))\n')
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.stdout.strip() == '(1, 100, 2, 2)', result.stderr
