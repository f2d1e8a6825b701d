# Copyright (c) mmvisionmix authors. All rights reserved.
"""Models of any task as ONNX or TorchScript, as functions of images alone.

``tools/model_converters/export.py`` is the command that uses this; docs/deploy.md says what was
tried.
"""
import inspect
import io
import json
import math
import re
import warnings
from contextlib import contextmanager
from importlib import import_module
from typing import ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone, DualFormer, LinGlo, MCGANet, find_backbones
from mmvisionmix.models.layers import PositionEmbedding

FORMATS = ('onnx', 'torchscript')
SUPPORTED = ('classifiers (ImageClassifier) and segmentors (EncoderDecoder), whose output is '
             'logits; detectors up to their neck, and backbones, whose outputs are maps')
OPSET = 17  # the first with layer norms, and the last that torch 2.1 writes


class ExportError(ValueError):
    """A model cannot be written in a format, or what was written does not run."""


class Exportable(nn.Module):
    """A model as a function of images (B, C, H, W) alone, as exporting wants it.

    What it returns is a tuple of tensors, called :attr:`output_names`: ``logits`` of a classifier
    (B, classes) or segmentor (B, classes, H', W'), at the size that its head gives; the maps of a
    detector's neck, or of a backbone, ``map0`` and so on; or a backbone's ``vector0`` (B, C) where
    it emits those.

    Args:
        model (nn.Module): A classifier, segmentor, detector or backbone.
        backbone_only (bool): Whether to leave out what follows the backbone. Defaults to False.
        normalize (bool): Whether images come in the range of the config's ``mean`` and ``std``,
            mostly 0 to 255, and are normalised here. Defaults to False.
        resize (bool): Whether to enlarge a segmentor's logits to the size of the images, as its
            own inference does. Defaults to False.

    Attributes:
        kind (str): ``'classifier'``, ``'segmentor'``, ``'detector'`` or ``'backbone'``.
        statistics (tuple[list, list], optional): See :func:`mean_and_std`.
        rgb (bool): See :func:`is_converted_to_rgb`.

    Raises:
        ValueError: If the model is none of those, has no backbone of this package, or lacks what
            is asked for.
    """

    def __init__(self,
                 model: nn.Module,
                 backbone_only: bool = False,
                 normalize: bool = False,
                 resize: bool = False) -> None:
        super().__init__()
        find_backbones(model)  # or raises
        self.kind = 'backbone' if backbone_only else _kind_of(model)
        whole = self.kind != 'backbone' or isinstance(model, BaseBackbone)
        self.model = model if whole else model.backbone
        self.statistics = mean_and_std(model)
        self.rgb = is_converted_to_rgb(model)
        if normalize and self.statistics is None:
            raise ValueError('there is nothing to normalise by: the data preprocessor of the '
                             'config has no mean and std')
        if resize and self.kind != 'segmentor':
            raise ValueError(f'logits of a segmentor can be resized; this is a {self.kind}')
        self.resize = resize
        self.normalize = normalize
        if normalize:
            mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in self.statistics)
            self.register_buffer('mean', mean)
            self.register_buffer('std', std)

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Maps images (B, C, H, W) to the outputs."""
        x = (images - self.mean) / self.std if self.normalize else images
        if self.kind == 'backbone':
            return tuple(self.model(x))
        if self.kind == 'detector':
            return tuple(self.model.extract_feat(x))
        logits = self.model(x, mode='tensor')
        if self.resize:
            logits = F.interpolate(
                logits, size=images.shape[2:], mode='bilinear',
                align_corners=self.model.align_corners)
        return (logits, )

    def output_names(self, outputs: Sequence[Tensor]) -> List[str]:
        """Names for what :meth:`forward` returned."""
        if self.kind in ('classifier', 'segmentor'):
            return ['logits']
        return [f'{"vector" if out.ndim == 2 else "map"}{i}' for i, out in enumerate(outputs)]


def _kind_of(model: nn.Module) -> str:
    """Tells by names, for the codebases need not be installed."""
    names = {cls.__name__ for cls in type(model).__mro__}
    if isinstance(model, BaseBackbone):
        return 'backbone'
    if 'ImageClassifier' in names and model.with_head:
        return 'classifier'
    if 'EncoderDecoder' in names and 'CascadeEncoderDecoder' not in names:
        return 'segmentor'
    if 'BaseDetector' in names and hasattr(model, 'backbone'):
        return 'detector'
    raise ValueError(f'{type(model).__name__} is not supported as a whole. Supported are '
                     f'{SUPPORTED}')


def mean_and_std(model: nn.Module) -> Optional[Tuple[List[float], List[float]]]:
    """What a model's data preprocessor subtracts from each channel, and divides by, or None."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, 'mean', None) is None:
        return None
    mean, std = ([round(value, 4) for value in statistic.flatten().tolist()]
                 for statistic in (preprocessor.mean, preprocessor.std))
    return mean, std


def is_converted_to_rgb(model: nn.Module) -> bool:
    """Whether a model's data preprocessor swaps BGR, which the codebases load, for RGB."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    return any(getattr(preprocessor, name, False)
               for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))


def size_multiple(model: nn.Module) -> Optional[int]:
    """What sides of images must be multiples of in a graph that takes images of several sizes.

    Args:
        model (nn.Module): What is to be exported.

    Returns:
        int, optional: None if a graph of the model is for one size.
    """
    for module in model.modules():
        if isinstance(module, PositionEmbedding) or _pools_into_bins(module):
            return None
        if isinstance(module, LinGlo) and any(
                getattr(part, 'patch', 1) > 1 for part in module.modules()):
            return None  # pads by what it was traced with
        if isinstance(module, BaseBackbone) and not isinstance(
                module, (DualFormer, LinGlo, MCGANet)):
            return None
    padded = [module.stride[0] for module in model.modules() if isinstance(module, AdaptivePadding)]
    return math.prod(padded)


def _pools_into_bins(module: nn.Module) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d) and to_2tuple(module.output_size) != (1, 1)


class BinPooling(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products, for ONNX, which has it for even bins alone.

    A graph of it is for maps of one size.

    Args:
        bins (tuple[int, int]): Height and width of the output.
    """

    def __init__(self, bins: Tuple[int, int]) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to averages (B, C, *bins)."""
        rows, cols = (_averaging(int(size), bins).to(x) for size, bins in
                      zip(x.shape[2:], self.bins))
        return torch.matmul(torch.matmul(rows, x), cols.t())


def _averaging(size: int, bins: int) -> Tensor:
    """Shape (bins, size): the share of each position in each bin; bins may overlap by one."""
    shares = torch.zeros(bins, size)
    for i in range(bins):
        start, end = i * size // bins, -(-(i + 1) * size // bins)
        shares[i, start:end] = 1 / (end - start)
    return shares


def replace_bin_pooling(model: nn.Module) -> None:
    """Puts :class:`BinPooling` in the place of every pooling into more than one bin."""
    for module in model.modules():
        for name, child in module.named_children():
            if _pools_into_bins(child):
                setattr(module, name, BinPooling(to_2tuple(child.output_size)))


@torch.no_grad()
def to_onnx(model: nn.Module,
            images: Tensor,
            output_names: Optional[Sequence[str]] = None,
            dynamic_axes: Optional[Dict[str, Dict[int, str]]] = None,
            metadata: Optional[Dict[str, object]] = None,
            opset: int = OPSET) -> bytes:
    """Writes a model in evaluation mode as ONNX. Its pooling into bins is replaced for good.

    Args:
        model (nn.Module): Takes images.
        images (Tensor): Shape (B, C, H, W); with a dynamic batch B must be 2 or more.
        output_names (Sequence[str], optional): Defaults to None: numbers.
        dynamic_axes (dict, optional): Names of axes of any size by input (``images``) and output.
            Defaults to None: there are none.
        metadata (dict, optional): What to keep in the file, as JSON. Defaults to None.
        opset (int): Version of ONNX's operators. Defaults to 17.

    Returns:
        bytes: The file's content.

    Raises:
        ImportError: If onnx is not installed.
        ExportError: If ONNX, or PyTorch's exporter, lacks one of the model's operations.
    """
    onnx = require('onnx')
    replace_bin_pooling(model)
    options: Dict[str, object] = {}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False  # torch 2.9 and later export by other means without it
    file = io.BytesIO()
    with _without_remarks(), _telling(f'write this model as ONNX, opset {opset}'):
        torch.onnx.export(
            model, (images, ), file, input_names=['images'], output_names=output_names,
            dynamic_axes=dynamic_axes, opset_version=opset, **options)
    graph = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(
        graph, {key: json.dumps(value) for key, value in (metadata or {}).items()})
    return graph.SerializeToString()


@torch.no_grad()
def to_torchscript(model: nn.Module, images: Tensor,
                   metadata: Optional[Dict[str, object]] = None) -> bytes:
    """Writes a model in evaluation mode as TorchScript, traced with some images.

    Args:
        model (nn.Module): Takes images.
        images (Tensor): Shape (B, C, H, W).
        metadata (dict, optional): What to keep in the file, as the extra file ``metadata.json``.
            Defaults to None.

    Returns:
        bytes: The file's content.

    Raises:
        ExportError: If the model has an operation that cannot be traced or saved.
    """
    file = io.BytesIO()
    with _without_remarks(), _telling('write this model as TorchScript'):
        graph = torch.jit.trace(model, images, check_trace=False)
        torch.jit.save(graph, file, _extra_files={'metadata.json': json.dumps(metadata or {})})
    return file.getvalue()


@contextmanager
def _telling(task: str, program: str = f'torch {torch.__version__}',
             errors: Tuple[Type[Exception], ...] = (RuntimeError, TypeError, ValueError)
             ) -> Iterator[None]:
    """Raises what a program fails with as an :class:`ExportError` of one paragraph."""
    try:
        yield
    except errors as error:
        raise ExportError(f'{program} cannot {task}: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    """What an error says, without a full stop, dumps of graphs and invitations to report it."""
    text = re.split(r'Please feel free|\[Caused by|\n\s*\n', str(error).strip())[0]
    return ' '.join(text.split()).rstrip('.') or type(error).__name__


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Leaves out warnings of sizes that become constants; files are compared on other images.

    And the whole graph, which torch 2.11 prints before it fails: it has no other switch for that.
    """
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *text: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', torch.jit.TracerWarning)
            warnings.filterwarnings(
                'ignore', 'Constant folding|.*legacy TorchScript-based|.*dynamo')
            yield
    finally:
        torch._C._jit_onnx_log = log


class OnnxModel(nn.Module):
    """An ONNX file's content, run by onnxruntime on the CPU.

    Args:
        content (bytes): See :func:`to_onnx`.

    Raises:
        ImportError: If onnxruntime is not installed.
        ExportError: If it lacks one of the file's operations, or fails, then or later.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        runtime = require('onnxruntime')
        self.program = f'onnxruntime {runtime.__version__}'
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait busily would slow what else runs, such as torch in a comparison of both.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 4  # it warns of what it optimises away, and raises its errors
        with self._telling('load the ONNX file'):
            self.session = runtime.InferenceSession(
                content, options, providers=['CPUExecutionProvider'])

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Maps images (B, C, H, W) to the outputs."""
        name = self.session.get_inputs()[0].name
        with self._telling(f'run the ONNX file on images {tuple(images.shape)}'):
            outs = self.session.run(None, {name: images.contiguous().numpy()})
        return tuple(map(torch.from_numpy, outs))

    def _telling(self, task: str) -> ContextManager[None]:
        return _telling(task, self.program, (Exception, ))  # its errors have no other base


def load_exported(content: bytes, form: str) -> Union[OnnxModel, torch.jit.ScriptModule]:
    """What :func:`to_onnx` or :func:`to_torchscript` wrote, as it will run."""
    return OnnxModel(content) if form == 'onnx' else torch.jit.load(io.BytesIO(content))


def require(module: str) -> object:
    """Imports an optional module.

    Raises:
        ImportError: If it is not installed; says how to.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'ONNX needs {module}: pip install onnx onnxruntime') from error
