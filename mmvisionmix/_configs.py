# Copyright (c) mmvisionmix authors. All rights reserved.
"""Finds the configs of this package, wherever and however it is installed."""
from difflib import get_close_matches
from pathlib import Path
from typing import Dict, List

CONFIGS = Path(__file__).parent / '.mim' / 'configs'


def config_path(name: str) -> str:
    """Returns the absolute path of a config of this package.

    Args:
        name: Its basename (``'upernet_lkca_s_ade20k'``) or its path below ``configs/``
            (``'lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512'``), with or without ``.py``.

    Raises:
        FileNotFoundError: If no config has that name; the message lists the nearest ones.
        ValueError: If a basename stands for several configs; the message lists them.

    Examples:
        >>> _base_ = [__import__('mmvisionmix').config_path('upernet_lkca_s_ade20k')]
    """
    known = _known_configs()
    key = name[:-len('.py')] if name.endswith('.py') else name
    found = [key] if key in known else [k for k in known if Path(k).name == key]
    if not found:
        raise FileNotFoundError(
            f'mmvisionmix has no config {name!r}. {_hint(key, list(known))}')
    if len(found) > 1:
        raise ValueError(f'{name!r} stands for several configs, name one: {", ".join(found)}')
    return str(known[found[0]])


def _known_configs() -> Dict[str, Path]:
    """Maps the path of every config below ``configs/``, without ``.py``, to its absolute path."""
    root = CONFIGS.resolve()
    if not root.is_dir():
        raise FileNotFoundError(
            f'{CONFIGS} leads nowhere. On Windows, clone with: git clone -c core.symlinks=true ...')
    return {p.relative_to(root).with_suffix('').as_posix(): p for p in sorted(root.rglob('*.py'))}


def _hint(key: str, known: List[str]) -> str:
    """Names the configs nearest to an unknown one, compared by basename."""
    basenames = {Path(k).name: k for k in known}
    near = get_close_matches(Path(key).name, basenames, n=5, cutoff=0.5)
    if near:
        return f'Did you mean: {", ".join(basenames[b] for b in near)}?'
    return f'All configs are in {CONFIGS}.'
