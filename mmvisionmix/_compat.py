# Copyright (c) mmvisionmix authors. All rights reserved.
"""The only place that knows versions: which ones serve, and what is added to them at import.

Two families of distributions bring the modules ``mmengine`` and ``mmcv``: OpenMMLab's own and the
maintained forks, whose names begin with ``onedl-``. Either serves; both in one environment do not.
"""
import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, Callable, NoReturn, Optional

import numpy as np
import torch
import torch.fx
from packaging.specifiers import SpecifierSet
from torch import nn

# The versions that serve, by module and distribution; mmdet 3.3 refuses mmcv 2.2.
VERSIONS = {
    'mmengine': {'mmengine': '>=0.10.7,<0.11', 'onedl-mmengine': '>=0.10.7,<0.11'},
    'mmcv': {'mmcv': '>=2.1.0,<2.2.0', 'mmcv-lite': '>=2.1.0,<2.2.0',
             'onedl-mmcv': '>=2.3.0,<2.4.0'},
}
COMPILED = ('mmcv', 'onedl-mmcv')  # pip compiles their operators, for the torch that is there
OPERATORS = 'mmcv.ops'
STATISTICS = ('min', 'max', 'current', 'mean')


def check_versions() -> None:
    """Raises ImportError unless one MMEngine and one mmcv are there, in versions that serve.

    The error says what to install. mmcv-lite serves as well as mmcv: it lacks the compiled
    operators, which mmdetection needs and the backbones do not use.
    """
    forks = is_installed('onedl-mmengine')
    for module, versions in VERSIONS.items():
        installed = [name for name in versions if is_installed(name)]
        choice = installed or [name for name in versions if name.startswith('onedl-') == forks]
        install = '\nor '.join(f'    {install_command(name)}' for name in choice)
        if len(installed) > 1:
            raise ImportError(
                f'{" and ".join(installed)} overwrite each other\'s files. Remove them with\n'
                f'    pip uninstall -y {" ".join(installed)}\nand install one of them:\n{install}')
        found = _version(module)
        if not any(found and SpecifierSet(versions[name]).contains(found, prereleases=True)
                   for name in choice):
            raise ImportError(
                f'mmvisionmix needs {module}{versions[choice[0]]}, but found {found or "none"}. '
                f'Install it with\n{install}')


def install_command(distribution: str) -> str:
    """Returns the command that installs a suitable version of a distribution."""
    versions, = [known[distribution] for known in VERSIONS.values() if distribution in known]
    option = '--no-build-isolation ' if distribution in COMPILED else ''
    return f'pip install {option}"{distribution}{versions}"'


def is_installed(distribution: str) -> bool:
    """Whether pip installed a distribution here."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _version(module: str) -> Optional[str]:
    """Returns the version of an installed module, or None; a broken module raises its own error."""
    try:
        return import_module(module).__version__
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None


def make_configs_inheritable() -> None:
    """Lets MMEngine find ``mmvisionmix::`` bases, and ``mmseg::`` bases of the fork.

    MMEngine asks for the distribution of a module. The forks' own still takes mmseg's to be
    ``mmsegmentation``, which is called ``onedl-mmsegmentation``; a module's name serves as well.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    MODULE2PACKAGE['mmvisionmix'] = 'mmvisionmix'
    if is_installed('onedl-mmsegmentation'):
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def allow_mmengine_checkpoints() -> None:
    """Declares the types in MMEngine's checkpoints safe, where torch asks for it.

    From torch 2.6 on, ``torch.load`` builds nothing but tensors and what was declared safe.
    MMEngine writes its log next to the weights, as buffers of numpy arrays, and mmpose colours.
    Declared here are exactly those types; a file with any other is refused, as code would be.
    """
    from mmengine.logging import HistoryBuffer
    if not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
        return  # torch before 2.6
    array = np.empty(0)
    rebuild_array, rebuild_scalar = array.__reduce__()[0], np.float64().__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64, np.uint8)]
    # By name, as onedl-mmengine declares the types alone while it loads, and takes them back.
    allowed = [(one, f'{one.__module__}.{one.__qualname__}')
               for one in (HistoryBuffer, np.ndarray, np.dtype, *kinds)]
    allowed.append((_get_statistic, 'builtins.getattr'))
    for package in ('numpy.core', 'numpy._core'):  # before and after numpy 2
        allowed += [(rebuild_array, f'{package}.multiarray._reconstruct'),
                    (rebuild_scalar, f'{package}.multiarray.scalar')]
    torch.serialization.add_safe_globals(allowed)


def _get_statistic(owner: type, name: str) -> Callable:
    """Stands in for ``getattr``, by which a log refers to its statistics, and gives nothing else.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    from mmengine.logging import HistoryBuffer
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise UnpicklingError(
            f'a checkpoint may refer to {STATISTICS} of {HistoryBuffer}, not to {name} of {owner}')
    return getattr(owner, name)


class PlainOperators(ModuleType):
    """The part of ``mmcv.ops`` that needs no compiled code."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith('_'):
            raise AttributeError(name)
        _refuse_operator(name)


def _refuse_operator(name: str) -> NoReturn:
    raise ModuleNotFoundError(
        f'{OPERATORS}.{name} is one of the compiled operators, which the installed mmcv lacks (is '
        'it mmcv-lite?). Put mmcv in its place:\n'
        f'    pip uninstall -y mmcv-lite && {install_command("mmcv")}', name=OPERATORS)


def stand_in_for_operators() -> None:
    """Lets mmsegmentation run on an mmcv without compiled operators, such as mmcv-lite.

    mmsegmentation 1.2 imports two names of ``mmcv.ops`` whatever the network: ``point_sample``,
    which is plain torch, and ``sigmoid_focal_loss``, which it calls on GPUs alone. A stand-in has
    these two; what else is looked for there is missing as before, so that mmdetection is refused
    as early.
    """
    if OPERATORS in sys.modules or find_spec('mmcv._ext'):
        return
    import mmcv
    operators = PlainOperators(OPERATORS, 'What works of mmcv.ops without its compiled operators.')
    operators.__path__ = [str(Path(mmcv.__file__).with_name('ops'))]
    sys.modules[OPERATORS] = mmcv.ops = operators  # so that `import mmcv.ops` finds it
    operators.point_sample = import_module(f'{OPERATORS}.point_sample').point_sample
    operators.sigmoid_focal_loss = lambda *_, **__: _refuse_operator('sigmoid_focal_loss')


def is_tracing(*inputs: Any) -> bool:
    """Whether torch.compile, an export, torch.jit.trace or torch.fx records what is called.

    Args:
        inputs: What a module was called with; torch.fx is recognised by its proxies.
    """
    if torch.jit.is_tracing() or any(isinstance(one, torch.fx.Proxy) for one in inputs):
        return True
    if hasattr(torch.compiler, 'is_compiling'):  # torch 2.3 and later
        return torch.compiler.is_compiling()
    return torch._utils.is_compiling()  # before, there is no public one


def on_load(module: nn.Module, hook: Callable[..., None]) -> None:
    """Has ``hook(module, state_dict, prefix, *rest)`` called before a module loads its weights."""
    if hasattr(module, 'register_load_state_dict_pre_hook'):  # torch 2.5 and later
        module.register_load_state_dict_pre_hook(hook)
    else:  # before, it was not public
        module._register_load_state_dict_pre_hook(hook, with_module=True)
