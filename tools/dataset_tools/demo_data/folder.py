# Copyright (c) mmvisionmix authors. All rights reserved.
"""A folder that holds generated files and nothing else: all of them, or none."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Union

MANIFEST = 'demo_data.json'
MADE_BY = 'mmvisionmix demo data'
"""Tells a manifest from any other JSON file."""


def write_once(root: Union[str, Path],
               parameters: Dict[str, Any],
               draw: Callable[[], Dict[str, bytes]]) -> bool:
    """Fills a folder with generated files, unless it holds just these already.

    They are written into a new folder beside it, which takes its place once it is whole.

    Args:
        root: The folder. It may be new, empty, or one that was written here before.
        parameters: What the files are made from; plain JSON values.
        draw: Makes the files: {path relative to the folder: contents}. It is called before
            anything is touched, and only if something has to be written.

    Returns:
        Whether anything was written.

    Raises:
        FileExistsError: If the folder holds anything that was not made here; it is left as it is.
        NotADirectoryError: If ``root`` is a file.
    """
    root = Path(root).resolve()
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f'{root} is a file. Choose a folder.')
    found = {path.relative_to(root).as_posix() for path in root.rglob('*') if not path.is_dir()}
    manifest = _load_manifest(root / MANIFEST)
    if manifest['parameters'] == parameters and found.issuperset(manifest['files']):
        return False
    strangers = sorted(found.difference(manifest['files'], [MANIFEST]))
    if strangers:
        raise FileExistsError(f'{root} holds what was not made here, such as '
                              f'{", ".join(strangers[:3])}. It was left as it is. Choose an empty '
                              f'or a new folder.')
    files = draw()
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as draft:
        new = Path(draft, 'new')
        for name, contents in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(contents)
        manifest = dict(made_by=MADE_BY, parameters=parameters, files=sorted(files))
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + '\n', encoding='utf-8')
        if root.exists():
            os.replace(root, Path(draft, 'old'))
        os.replace(new, root)
    return True


def _load_manifest(path: Path) -> Dict[str, Any]:
    """Reads a manifest; a missing one is an empty one."""
    if not path.exists():
        return dict(parameters=None, files=[])
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
        if manifest['made_by'] == MADE_BY:
            return dict(parameters=manifest['parameters'], files=manifest['files'])
    except (KeyError, TypeError, ValueError):
        pass
    raise FileExistsError(f'{path} is not a manifest of demo data. Choose another folder.')
