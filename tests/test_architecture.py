# Copyright (c) mmvisionmix authors. All rights reserved.
"""The rooms of the package and the one way in which they import each other."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'mmvisionmix'
# What each room may import of the package and of OpenMMLab, beside itself.
MAY_IMPORT = {
    'ops': set(),
    'models/layers': {'mmengine', 'mmcv', 'mmvisionmix._compat', 'mmvisionmix.ops',
                      'mmvisionmix.models.arguments', 'mmvisionmix.registry'},
    'models/backbones': {'mmengine', 'mmcv', 'mmvisionmix._compat', 'mmvisionmix.ops',
                         'mmvisionmix.models.arguments', 'mmvisionmix.models.layers',
                         'mmvisionmix.registry'},
    'visualization': {'mmvisionmix.models'},
    'evaluation': {'mmengine', 'mmseg', 'mmvisionmix.registry'},
}
OURS = {'mmengine', 'mmcv', 'mmseg', 'mmdet', 'mmpretrain', 'mmvisionmix', 'timm'}


def imported_modules(file):
    """Absolute names of all modules that a file imports."""
    package = ('mmvisionmix', *file.parent.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else ()
            yield '.'.join((*above, *([node.module] if node.module else ())))


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_rooms_import_downwards_only(room):
    allowed = (*MAY_IMPORT[room], 'mmvisionmix.' + room.replace('/', '.'))
    for file in (PACKAGE / room).rglob('*.py'):
        for name in imported_modules(file):
            assert name.partition('.')[0] not in OURS or name.startswith(allowed), (file, name)


def test_package_and_backbones_do_without_codebases_and_compiled_operators():
    """With mmcv-lite, and without mmsegmentation, mmdetection and mmpretrain."""
    code = ('import sys\n'
            'for name in ("mmcv._ext", "mmseg", "mmdet", "mmpretrain"): sys.modules[name] = None\n'
            'import torch\n'
            'from mmengine.registry import MODELS\n'
            'for name, sizes in dict(KeyOnly=(8, 2), Group=(8, 2), LargeKernel=(8, (4, 4)),'
            '                        Partition=(8, )).items():\n'
            '    MODELS.get(f"mmvisionmix.{name}Attention")(*sizes)\n'
            'MODELS.build(dict(type="mmvisionmix.ConditionalPositionalEncoding", channels=8))\n'
            'model = MODELS.build(dict(type="mmvisionmix.LKCAViT", arch="0.5m", img_size=32))\n'
            'print(tuple(model(torch.rand(1, 3, 32, 32))[0].shape))\n')
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.stdout.strip() == '(1, 100, 2, 2)', result.stderr
