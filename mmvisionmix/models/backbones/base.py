# Copyright (c) mmvisionmix authors. All rights reserved.
import difflib
import logging
import math
from contextlib import contextmanager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

import torch
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmvisionmix._compat import is_tracing

from ..arguments import check_int, check_rate, is_int
from ..layers import Foldable, PositionEmbedding


def drop_path_rates(rate: float, depth: int, uniform: bool = False) -> List[float]:
    """Stochastic-depth rates of ``depth`` blocks, ``rate`` or rising linearly from 0 to it."""
    check_rate(drop_path_rate=rate)
    return [rate if uniform else rate * i / max(depth - 1, 1) for i in range(depth)]


def _as_list(init_cfg: Union[dict, List[dict], None]) -> List[dict]:
    given: List[dict] = []
    if init_cfg is not None:
        given = list(init_cfg) if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    if not all(isinstance(cfg, dict) and 'type' in cfg for cfg in given):
        raise ValueError(f'init_cfg must be None, a dict with a type, or a list of such, got '
                         f'{init_cfg!r}')
    return [dict(cfg, type='Pretrained') if cfg['type'] is PretrainedInit else cfg for cfg in given]


@contextmanager
def _keep_buffers(block: nn.Module) -> Iterator[None]:
    """Leaves statistics as they are: a block that is computed again sees the same images again."""
    kept = [(buffer, buffer.clone()) for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, values in kept:
            buffer.copy_(values)


class Stage(BaseModule):
    """Downsampling, and blocks on maps of one size.

    Args:
        downsample (nn.Module): Leads into the stage.
        blocks (Sequence[nn.Module]): Keep the shape of their input.
    """

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Maps feature maps to the next; ``run(block, x)`` calls a block."""
        x = self.downsample(x)
        for block in self.blocks:
            x = run(block, x)
        return x


class BaseBackbone(BaseModule):
    """What all backbones here share; they add a stem, stages and a short ``forward``.

    A subclass fills :attr:`arch_settings`, and its constructor

    1. calls ``super().__init__``, then :meth:`get_arch` and :meth:`set_out_indices`;
    2. sets ``self.stem``, ``self.stages`` (a ModuleList) and ``self.norms`` (a ModuleDict with one
       norm per emitted stage, keyed by its index), building no stage past the last one emitted, so
       that every parameter receives a gradient; a stage is one block or a :class:`Stage`;
    3. ends with :meth:`freeze_stages`.

    Args:
        frozen_stages (int): -1 freezes nothing, 0 the stem, n the stem and the first n stages:
            no gradients, and norms and dropout in evaluation mode. Defaults to -1.
        norm_eval (bool): Whether batch norms keep their running statistics while training.
            Defaults to False.
        with_cp (bool): Activation checkpointing: blocks are recomputed in the backward pass, for
            less memory, more time and the same values and statistics. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialisation config. ``Pretrained`` weights are
            loaded on top of the others or, if there are none, of :attr:`default_init_cfg`; without
            a ``checkpoint`` they are not, and a warning says so. Defaults to None.

    Attributes:
        family (str): Begins the network's names in timm and in benchmarks; the arch ends them.
        arch_options (dict[str, dict]): Options of the constructor that go with an arch.
        arch_data (dict[str, dict]): ``num_classes``, ``mean`` and ``std`` of the data that an arch
            is for, as timm has them, where they are not ImageNet's.
        first_conv (str): Name of the first convolution.
        hidden_dims (int): Width of a hidden layer in the classifier's head, 0 for none.
        norm_before_pool (bool): Whether a classifier pools what was normalised.
        no_weight_decay (tuple[str]): Parts of names of parameters exempt from weight decay, beside
            those with one dimension.
        block_classes (tuple[type]): Of the blocks, which FSDP shards and pictures show.
        layout (str): Of what blocks map: ``'NCHW'``, ``'NHWC'``, or ``'NLC'`` beside a grid.
        fx_leaves (tuple[type]): Modules that torch.fx is not to look into, as what they do depends
            on shapes and modes: ``leaf_modules`` of torchvision's ``create_feature_extractor``.
        counted_impls (dict[str, str]): The ``impl`` that multiply-adds are counted on, by counting,
            see :func:`mmvisionmix.complexity.count_complexity`.
        has_token_products (bool): Whether batched products are of tokens by tokens, and only they.
    """

    arch_settings: Dict[str, dict] = {}
    fractional_settings: Tuple[str, ...] = ()  # those of them that need not be whole
    default_init_cfg: Union[dict, List[dict], None] = None
    pretraining_config: str = ''  # the config that weights come from, without .py
    stem_names: Tuple[str, ...] = ('stem', )  # modules and parameters that belong to the stem
    family: str = ''
    arch_options: Dict[str, dict] = {}
    arch_data: Dict[str, dict] = {}
    first_conv: str = 'stem.conv'
    hidden_dims: int = 0
    norm_before_pool: bool = False
    no_weight_decay: Tuple[str, ...] = ()
    block_classes: Tuple[Type[nn.Module], ...] = ()
    layout: str = 'NCHW'
    fx_leaves: Tuple[Type[nn.Module], ...] = (AdaptivePadding, DropPath)
    counted_impls: Dict[str, str] = {}
    has_token_products: bool = False

    def __init__(self,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Union[dict, List[dict], None] = None) -> None:
        given = _as_list(init_cfg)
        self._pretrained = [dict(cfg, prefix=cfg.get('prefix') or None)
                            for cfg in given if cfg['type'] == 'Pretrained']
        others = [cfg for cfg in given if cfg['type'] != 'Pretrained']
        super().__init__((others or _as_list(self.default_init_cfg)) +
                         [cfg for cfg in self._pretrained if cfg.get('checkpoint')])
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    @classmethod
    def get_arch(cls, arch: Union[str, dict]) -> dict:
        """Looks an architecture up.

        Args:
            arch (str | dict): A name in :attr:`arch_settings`, in any case, or a dict with the
                keys that the settings there have.

        Returns:
            dict: A copy of the settings.

        Raises:
            ValueError: If the name is unknown, or the dict lacks a key, has one too many, has
                settings per stage for different numbers of stages, or a number out of range.
        """
        if isinstance(arch, dict):
            cls._check_arch(arch)
            return dict(arch)
        known = cls.arch_settings
        if not isinstance(arch, str) or arch.lower() not in known:
            near = difflib.get_close_matches(str(arch).lower(), known, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            raise ValueError(f'{cls.__name__} knows the archs {list(known)} or a dict, '
                             f'got {arch!r}{hint}')
        return dict(known[arch.lower()])

    @classmethod
    def channels_and_strides(cls, arch: Union[str, dict], **options: Any) -> List[Tuple[int, int]]:
        """Channels of every stage, and how many pixels its positions are apart.

        Args:
            arch (str | dict): As for :meth:`get_arch`.
            options: Of the constructor.
        """
        return [(dims, 4 * 2**i) for i, dims in enumerate(cls.get_arch(arch)['embed_dims'])]

    @property
    def size_multiple(self) -> Optional[int]:
        """What sides of images must be multiples of in a traced graph for images of any size.

        Such a graph pads by what it was traced with. None if it is for images of one size.
        """
        if any(isinstance(module, PositionEmbedding) for module in self.modules()):
            return None
        return math.prod(
            module.stride[0] for module in self.modules() if isinstance(module, AdaptivePadding))

    @classmethod
    def _check_arch(cls, arch: dict) -> None:
        reference = next(iter(cls.arch_settings.values()))
        if set(arch) != set(reference):
            raise ValueError(f'an arch dict of {cls.__name__} has the keys {sorted(reference)}, '
                             f'got {sorted(map(str, arch))}')
        stages = {len(value) if isinstance(value, (tuple, list)) else None
                  for value in arch.values()}
        per_stage = any(isinstance(value, tuple) for value in reference.values())
        if len(stages) > 1 or (None in stages) == per_stage or 0 in stages:
            wanted = 'one value per stage' if per_stage else 'one number for each key'
            raise ValueError(f'an arch dict of {cls.__name__} has {wanted}, got {arch}')
        for key, value in arch.items():
            if key not in cls.fractional_settings:
                check_int(**{f'arch.{key}': value})
            elif not isinstance(value, Real) or not float(value) > 0:
                raise ValueError(f'arch.{key} must be a number above 0, got {value!r}')

    def set_out_indices(self, out_indices: Union[int, Sequence[int]],
                        depths: Sequence[int]) -> None:
        """Sets ``num_stages``, the stages to emit, ascending and non-negative, and their depths.

        Args:
            out_indices (int | Sequence[int]): Stages to emit; negative ones count from the end.
            depths (Sequence[int]): Number of blocks in every stage of the architecture.

        Raises:
            ValueError: If an index is out of range, or stands twice, or there is none.
        """
        num_stages = len(depths)
        indices = out_indices if isinstance(out_indices, (tuple, list)) else (out_indices, )
        valid = all(is_int(i) and -num_stages <= i < num_stages for i in indices)
        positive = sorted({i % num_stages for i in indices}) if valid else []
        if not positive or len(positive) < len(indices):
            raise ValueError(f'out_indices must be distinct and between {-num_stages} and '
                             f'{num_stages - 1}, got {out_indices}')
        self.depths = tuple(depths[:positive[-1] + 1])  # of the stages that are built
        self.num_stages = num_stages
        self.out_indices = tuple(positive)

    def freeze_stages(self) -> None:
        """Freezes the stem and the first ``frozen_stages`` stages.

        Raises:
            ValueError: If it is no whole number, or there are fewer stages than that.
        """
        last = len(self.stages)
        if not is_int(self.frozen_stages) or not -1 <= self.frozen_stages <= last:
            raise ValueError(f'frozen_stages must be a whole number between -1 and {last}, '
                             f'got {self.frozen_stages!r}')
        for part in self._frozen_parts():
            part.requires_grad_(False)
            if isinstance(part, nn.Module):
                part.eval()

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Sets the mode; frozen parts, and batch norms with ``norm_eval``, stay in evaluation."""
        super().train(mode)
        if mode:
            self.freeze_stages()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def switch_to_deploy(self) -> None:
        """Folds what can be folded for inference, for good; the outputs stay the same to rounding.

        Calls :meth:`Foldable.switch_to_deploy` of every layer that has it. Load weights first: a
        deployed backbone takes only those of a deployed one. A second call changes nothing.
        """
        for module in list(self.modules()):
            if isinstance(module, Foldable):
                module.switch_to_deploy()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Depth of a parameter, for layer-wise learning-rate decay.

        Args:
            param_name (str): Full name of the parameter.
            prefix (str): What precedes this backbone's own names, e.g. ``'backbone.'``.

        Returns:
            tuple[int, int]: The depth, 0 for the stem, 1 to n for the n blocks of all stages (what
            leads into a stage belongs to its first block), n + 1 for norms of outputs and for
            whatever follows the backbone; and the number of depths, n + 2.
        """
        num_depths = sum(self.depths) + 2
        name = param_name[len(prefix):] if param_name.startswith(prefix) else ''
        first, _, rest = name.partition('.')
        if first in self.stem_names:
            return 0, num_depths
        if first == 'stages':
            stage, _, inner = rest.partition('.')
            block = int(inner.split('.')[1]) if inner.startswith('blocks.') else 0
            return sum(self.depths[:int(stage)]) + block + 1, num_depths
        return num_depths - 1, num_depths

    def init_weights(self) -> None:
        """Initialises the weights, or loads those that ``init_cfg`` names.

        Raises:
            FileNotFoundError: If they are to be loaded from a file that does not exist.
            ValueError: If the file holds no weight of this backbone, or fits less than half of it.
        """
        for cfg in self._pretrained:
            if cfg.get('checkpoint'):
                self._check_pretrained(cfg['checkpoint'], cfg['prefix'])
            else:
                print_log(self._from_scratch_message(), 'current', logging.WARNING)
        super().init_weights()

    def _from_scratch_message(self) -> str:
        first = (f', where its paper starts from ImageNet; no weights are published. Train '
                 f'{self.pretraining_config}.py first' if self.pretraining_config else '')
        return (f'{type(self).__name__} starts from scratch{first}. Give a checkpoint with '
                f'--cfg-options model.backbone.init_cfg.checkpoint=PATH')

    def _check_pretrained(self, path: str, prefix: Optional[str]) -> None:
        hint = 'It was named by model.backbone.init_cfg.checkpoint.'
        if '://' not in path and not Path(path).is_file():
            raise FileNotFoundError(f'{Path(path).absolute()} does not exist. {hint}')
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        given = checkpoint.get('state_dict', checkpoint)
        names, own = list(given), dict(self.named_parameters())
        prefix = prefix.rstrip('.') + '.' if prefix else ''  # as MMEngine reads it
        if not any(prefix + name in names for name in self.state_dict()):
            first = next(iter(self.state_dict()))
            found = [name[:-len(first)] or None for name in names if name.endswith(first)]
            if found:
                hint = f'Set model.backbone.init_cfg.prefix={found[0]}'
            raise ValueError(f'{path} holds no weight of {type(self).__name__}: none is named '
                             f'{prefix}{first} or the like; the first are {names[:3]}. {hint}')
        fits = sum(getattr(given.get(prefix + name), 'shape', None) == value.shape
                   for name, value in own.items())
        if 2 * fits < len(own) and not any('folded' in name.split('.') for name in names):
            raise ValueError(f'{path} is of another size of {type(self).__name__} than this one, '
                             f'and fits {fits} of its {len(own)} parameters. {hint}')

    def maybe_checkpoint(self, block: nn.Module, *args: Any) -> Tensor:
        """Calls a block, under activation checkpointing if ``with_cp`` says so."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return block(*args)
        contexts: Dict[str, Any] = {} if is_tracing() else dict(  # compiled, they are kept anyway
            context_fn=lambda: (nullcontext(), _keep_buffers(block)))
        return checkpoint(block, *args, use_reentrant=False, **contexts)

    def _frozen_parts(self) -> List[Union[nn.Module, nn.Parameter]]:
        if self.frozen_stages < 0:
            return []
        parts = [getattr(self, name) for name in self.stem_names]
        parts += self.stages[:self.frozen_stages]
        return parts + [norm for i, norm in self.norms.items() if int(i) < self.frozen_stages]
