# Copyright (c) mmvisionmix authors. All rights reserved.
"""The versions of MMEngine and mmcv this package works with, checked at import; and of torch."""
from importlib import import_module, metadata
from typing import Any, Callable, Optional

import torch
import torch.fx
from packaging.specifiers import SpecifierSet
from torch import nn

MMENGINE = SpecifierSet('>=0.10.7,<0.11')
MMCV = SpecifierSet('>=2.1.0,<2.2.0')


def _ordered(versions: SpecifierSet) -> str:
    """Writes a range with its lower end first; ``str`` gives no fixed order."""
    return ','.join(sorted(map(str, versions), reverse=True))


INSTALL_MMCV = f'mim install "mmcv{_ordered(MMCV)}"'


def require_mmengine() -> None:
    """Raises ImportError unless a suitable MMEngine is installed."""
    _require('mmengine', MMENGINE, f'pip install "mmengine{_ordered(MMENGINE)}"')


def require_mmcv() -> None:
    """Raises ImportError unless a suitable mmcv, or mmcv-lite, is installed.

    Both distributions bring the module ``mmcv``; mmcv-lite lacks the compiled operators, which
    mmdetection needs and the backbones do not use.
    """
    lite = f'pip install "mmcv-lite{_ordered(MMCV)}"'
    if _is_installed('mmcv-lite'):
        mend = lite
    elif _is_installed('mmcv'):
        mend = INSTALL_MMCV
    else:
        mend = f'{INSTALL_MMCV}\nor, without the compiled operators of mmdetection:\n    {lite}'
    _require('mmcv', MMCV, mend)


def _require(module: str, suitable: SpecifierSet, mend: str) -> None:
    """Raises ImportError unless ``module`` is installed in a suitable version.

    Args:
        module: Name of the module; its version is its ``__version__``.
        suitable: The versions that serve.
        mend: The command that installs one of them.
    """
    version = _version(module)
    if version is None or not suitable.contains(version, prereleases=True):
        found = f'{module} {version}' if version else 'none'
        raise ImportError(f'mmvisionmix needs {module}{_ordered(suitable)}, but found {found}. '
                          f'Mend it with\n    {mend}')


def _version(module: str) -> Optional[str]:
    """Returns the version of an installed module, or None; a broken module raises its own error."""
    try:
        return import_module(module).__version__
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def is_tracing(*inputs: Any) -> bool:
    """Whether torch.compile, an export, torch.jit.trace or torch.fx records what is called.

    Args:
        inputs: What a module was called with; torch.fx is recognised by its proxies.
    """
    if torch.jit.is_tracing() or any(isinstance(one, torch.fx.Proxy) for one in inputs):
        return True
    if hasattr(torch.compiler, 'is_compiling'):  # torch 2.3 and later
        return torch.compiler.is_compiling()
    return torch._utils.is_compiling()


def on_load(module: nn.Module, hook: Callable[..., None]) -> None:
    """Has ``hook(module, state_dict, prefix, *rest)`` called before a module loads its weights."""
    if hasattr(module, 'register_load_state_dict_pre_hook'):  # torch 2.5 and later
        module.register_load_state_dict_pre_hook(hook)
    else:
        module._register_load_state_dict_pre_hook(hook, with_module=True)
