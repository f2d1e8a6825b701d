# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the tools share: configs, models, launchers, tables, and errors in one line.

A tool in a folder beside this file finds it by a line before the import::

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
"""
import argparse
import difflib
import inspect
import io
import os
import pickle
import re
import sysconfig
import traceback
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence, Tuple

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, RUNNERS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import to_2tuple
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

import mmvisionmix
from mmvisionmix.datasets.availability import check_data

OURS = tuple(str(Path(file).resolve().parent) for file in (__file__, mmvisionmix.__file__))
PART = 'is it whole, or a part of a config?'
RUNNER_SETTINGS = (*inspect.signature(Runner).parameters, 'activation_checkpointing',
                   'auto_scale_lr', 'compile', 'data_preprocessor', 'efficient_conv_bn_eval',
                   'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy',
                   'sync_bn', 'tta_model', 'tta_pipeline')
"""What MMEngine reads of a config, though it may not be there."""
# What starts the processes of a launcher, and leaves these variables to each of them.
LAUNCHERS = {
    'none': ('python', ()),
    'pytorch': ('torchrun, as tools/dist_train.sh and dist_test.sh call it',
                ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')),
    'slurm': ('srun, as tools/slurm_train.sh and slurm_test.sh call it',
              ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': ('mpirun, with MASTER_ADDR set',
            ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE',
             'MASTER_ADDR')),
}


def positive_int(text: str) -> int:
    """Reads a positive integer from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a positive integer, got {text!r}')
    return int(text)


def read_size(text: str) -> Tuple[int, int]:
    """Reads ``HEIGHTxWIDTH``, pixels, from the command line."""
    sides = text.split('x')
    if len(sides) != 2:
        raise argparse.ArgumentTypeError(f'must be HEIGHTxWIDTH, got {text!r}')
    return positive_int(sides[0]), positive_int(sides[1])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; what looks like rich's markup stays as it is."""
    found = Table(*header, box=box.MARKDOWN)
    for row in rows:
        found.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=10000, markup=False, emoji=False, highlight=False).print(found)
    return '\n'.join(line.rstrip() for line in text.getvalue().strip().splitlines())


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Adds ``--traceback``, for :func:`errors_in_a_line`."""
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was raised')


def add_config_options(parser: argparse.ArgumentParser,
                       example: str = 'model.backbone.drop_path_rate=0.2') -> None:
    """Adds ``--cfg-options``, of which ``example`` is one, and ``--traceback``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE',
        help=f'settings that override the config, e.g. {example}; lists as key="[a,b]"')
    add_traceback(parser)


@contextmanager
def errors_in_a_line(whole: bool = False) -> Iterator[None]:
    """Ends the program with one line in place of an exception, unless the ``whole`` is wanted.

    Of an error in a data loader's worker, whose message is a stack trace, it tells the reason; of
    one in the user's own code, the file and line.

    Raises:
        SystemExit: In place of any exception.
    """
    try:
        yield
    except Exception as error:
        if whole:
            raise
        name = type(error).__name__
        reason = ' '.join(re.split(rf'\n[\w.]*{name}: ', str(error))[-1].strip().split('\n'))
        lacking = re.match(r"'ConfigDict' object has no attribute '(\w+)'", reason)
        if lacking:
            reason = f'the config has no {lacking[1]}; {PART}'
        elif not isinstance(error, (OSError, ValueError)):  # whose messages speak for themselves
            reason = f'{name}: {reason}'
        if isinstance(error, (pickle.UnpicklingError, EOFError)):
            reason = f'a checkpoint {_unreadable(error)}'
        if re.match('(class `.*: )?need at least one array to concatenate', reason):  # MMEngine's
            reason = ('a data set has no samples: its folder or suffixes are others, or none has '
                      'an object of its classes; tools/dataset_tools/check_data.py tells which')
        place = _place_in_users_code(error)
        if place:
            reason += f', raised in {place}'
        elif 'in DataLoader worker process' in str(error):
            reason += '; tools/dataset_tools/check_data.py names the bad files'
        raise SystemExit(f'error: {reason} (--traceback tells where)') from error


def _unreadable(error: Exception) -> str:
    """Why a checkpoint cannot be loaded, without torch's advice to trust it."""
    reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip().split('\n')[0]
    return ('cannot be loaded: it is broken or no checkpoint, or holds other objects than weights '
            f'and logs, such as a whole model ({reason or type(error).__name__})')


def _place_in_users_code(error: Exception) -> str:
    """Function, file and line of the innermost call that is neither a package's nor ours."""
    called = [(frame.filename, frame.lineno, frame.name)
              for frame in traceback.extract_tb(error.__traceback__)]
    called += re.findall(r'File "(.+?)", line (\d+), in (\S+)', str(error))  # of a worker
    others = (sysconfig.get_path('stdlib'), *OURS, '<')
    for file, line, function in reversed(called):
        if not re.search('(site|dist)-packages', file) and not file.startswith(others):
            return f'{function}() of {file}, line {line}'
    return ''


def read_config(path: str, options: Sequence[str] = ()) -> Config:
    """Reads a config, with settings ``KEY=VALUE`` that override it.

    Args:
        path: A file, or ``PACKAGE::FOLDER/NAME.py`` of an installed package.
        options: The settings.

    Raises:
        FileNotFoundError: If the file, or one that it is based on, is missing.
        ValueError: If it is no Python, or its package or a setting is unknown.
    """
    package = str(path).partition('::')[0]
    if package != str(path) and not find_spec(package):  # MMEngine would install it
        raise ValueError(f'{path}: the package {package} is not installed')
    try:
        cfg = Config.fromfile(path) if package == str(path) else get_config(path)
    except SyntaxError as error:
        raise ValueError(f'{path}, or a file that it is based on, is no Python: {error}') from error
    override(cfg, options)
    return cfg


def override(cfg: Config, options: Sequence[str]) -> None:
    """Puts settings ``KEY=VALUE`` of the command line into a config."""
    for option in options:
        key, equals, text = option.partition('=')
        if not equals:
            raise ValueError(f'--cfg-options takes KEY=VALUE, got {option!r}')
        first = key.split('.')[0]
        if first not in cfg and first not in RUNNER_SETTINGS:
            near = difflib.get_close_matches(first, [*cfg, *RUNNER_SETTINGS], n=1)
            raise ValueError(f'--cfg-options: nothing reads {option!r}: the config has no {first}'
                             + (f'; did you mean {near[0]}?' if near else ''))
        try:
            cfg.merge_from_dict({key: _read_value(text, _find(cfg, key))})
        except (AssertionError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f'--cfg-options: cannot set {option!r}: {error}') from error


def _read_value(text: str, old: Any) -> Any:
    """Reads a value as MMEngine does, but leaves text with blanks and commas, as in paths, alone.

    Lists without brackets are read where no text stood before.
    """
    value = text.strip('\'"')
    is_text = isinstance(old, str) and set(value) & set(' ,[]()')
    if value[:1] not in ('[', '(') and (is_text or ' ' in value and ',' not in value):
        return value
    reader = argparse.ArgumentParser(prefix_chars='=')
    reader.add_argument('values', nargs='+', action=DictAction)
    return reader.parse_args([f'key={text}']).values['key']


def _find(cfg: Any, key: str) -> Any:
    for part in key.split('.'):
        try:
            cfg = cfg[int(part) if isinstance(cfg, (list, tuple)) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return cfg


def input_size(cfg: Config) -> Tuple[int, int]:
    """Height and width of the images that a config's model is made for, 224 if it does not tell."""
    preprocessor, backbone = (cfg.model.get(key) or {} for key in ('data_preprocessor', 'backbone'))
    return to_2tuple(preprocessor.get('size') or backbone.get('img_size') or 224)


def put_between(page: str, begin: str, end: str, text: str) -> str:
    """Replaces what stands between two marks in a page.

    Raises:
        ValueError: If the page has no such marks.
    """
    pattern = re.compile(f'{re.escape(begin)}.*?{re.escape(end)}', re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f'the page lacks the marks {begin} and {end}')
    return pattern.sub(lambda _: f'{begin}\n\n{text}\n\n{end}', page)


def check_files(*paths: str) -> None:
    """Raises a FileNotFoundError that names the first file that is missing.

    Addresses, and configs of installed packages, are not looked for.
    """
    for path in paths:
        if not re.search('::|://', path) and not Path(path).is_file():
            raise FileNotFoundError(f'{path} does not exist')


def load_model(cfg: Config, checkpoint: str) -> Tuple[nn.Module, dict]:
    """Builds a config's model on the CPU, in evaluation mode, and loads all its weights.

    Returns:
        The model, and the checkpoint's meta data.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no checkpoint of the model.
    """
    check_files(checkpoint)
    model = build_model(cfg)
    model.eval()  # of which some networks of the codebases return nothing
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f'{checkpoint} {_unreadable(error)}') from error
    load_weights(model, loaded.get('state_dict', loaded), checkpoint)
    return model, loaded.get('meta') or {}


def load_weights(model: nn.Module, weights: Mapping[str, Any], source: str,
                 allow_missing: bool = False) -> None:
    """Loads a checkpoint's weights, all that the model has.

    Args:
        model: What they are for.
        weights: Weights by name; those of parts that the model does not have are passed over.
        source: Where they are from, for the message.
        allow_missing: Whether weights may be missing, and then stay as they are, or too many.

    Raises:
        ValueError: If weights are missing, have other shapes, are not finite, or are too many for
            a part of the model; names the first few.
    """
    weights = {re.sub(r'^module\.', '', name): value for name, value in weights.items()}
    mismatch = r'size mismatch for (\S+): .*?Size\((.*?)\).*?Size\((.*?)\)'
    try:
        found = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        shapes = re.findall(mismatch, str(error))
        if not shapes:
            raise
        first = '; '.join(f'{name} {theirs} instead of {ours}' for name, theirs, ours in shapes[:3])
        raise ValueError(f'{source} is not of this model: {len(shapes)} of its weights have other '
                         f'shapes: {first}') from error
    learnt = [name for name, _ in model.named_parameters()]  # other buffers may hold infinity
    learnt += [name for name, _ in model.named_buffers() if '.running_' in name]
    state = model.state_dict()
    broken = [name for name in learnt if not state[name].isfinite().all()]
    if broken:
        raise ValueError(f'{source} holds NaN or infinite values in {listed(broken, 3)}: its '
                         'training has diverged')
    if allow_missing:
        return
    missing = [name for name in found.missing_keys if not name.endswith('num_batches_tracked')]
    if missing:
        raise ValueError(
            f'{source} lacks {len(missing)} of the {len(state)} weights of the model: '
            f'{listed(missing, 3)}. What it has is named {listed(list(weights), 3)}')
    parts = dict(model.named_modules())
    others = [name for name in found.unexpected_keys if name.rpartition('.')[0] in parts]
    if others:
        raise ValueError(f'{source} is of another model, whose layers have {listed(others, 3)}')


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first of some names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config of any codebase for one process, on the CPU, with weights unset.

    A data preprocessor beside the model is put into it; synchronised norms become plain ones.
    """
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return revert_sync_batchnorm(MODELS.build(cfg.model))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what OpenMMLab's train and test tools have in common."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser, 'train_dataloader.batch_size=2 model.backbone.arch=b')
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='job launcher (default: none)')
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, default=0, help='set by older launchers')


def load_config(args: argparse.Namespace, loaders: Sequence[str], *needed: str) -> Config:
    """Reads the config of a run, and checks that its processes and its data are there.

    Args:
        args: Parsed arguments of :func:`add_run_arguments`.
        loaders: The data loaders that will be used; see :func:`check_data`.
        needed: What the config has to have, beside a model.

    Returns:
        The config with ``--cfg-options``, launcher and ``work_dir`` set.

    Raises:
        FileNotFoundError: If the config file, or data that it reads, are missing.
        ValueError: If the config is not whole.
        SystemExit: If what a launcher provides, or its GPUs, are missing; says what to do.
        OSError: If the work directory cannot be written.
    """
    os.environ.setdefault(
        'LOCAL_RANK', os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank)))
    _check_launcher(args.launcher)
    cfg = read_config(args.config, args.cfg_options)
    lacking = [key for key in ('model', *needed) if not cfg.get(key)]
    if lacking:
        raise ValueError(f'{args.config} has no {", ".join(lacking)}; {PART}')
    check_data(cfg, loaders)
    cfg.launcher = args.launcher
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f'cannot write into the folder for logs and checkpoints, {cfg.work_dir} '
                      f'({error.strerror}); choose another with --work-dir') from error
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Builds MMEngine's runner, or what the config's ``runner_type`` names."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _check_launcher(launcher: str) -> None:
    starter, variables = LAUNCHERS[launcher]
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise SystemExit(f'error: --launcher {launcher} is for processes started by {starter}; '
                         f'this one lacks {", ".join(missing)}. For a single process, leave it out')
    gpus, local_rank = torch.cuda.device_count(), int(os.environ['LOCAL_RANK'])
    if launcher in ('slurm', 'mpi') and get_device() == 'cpu':
        raise SystemExit(f'error: --launcher {launcher} needs GPUs, and torch finds none; '
                         'tools/dist_train.sh and dist_test.sh run on CPUs too')
    if launcher == 'pytorch' and 0 < gpus <= local_rank:
        raise SystemExit(f'error: process {local_rank} of this machine finds no GPU of its own: '
                         f'there are {gpus}; start no more processes than that')


def _distribute_on_cpu(cfg: Config) -> None:
    """Joins the processes by gloo; MMEngine's own launcher gives every process a GPU."""
    torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    if cfg.get('find_unused_parameters'):
        wrapper['find_unused_parameters'] = True
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {})}
