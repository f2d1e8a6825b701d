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
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone, find_backbones

FORMATS = ('onnx', 'torchscript')
OPSET = 17  # the first with layer norms, and the last that torch 2.1 writes


class ExportError(ValueError):
    """A model cannot be written in a format, or what was written does not run."""


class Exportable(nn.Module):
    """A model as a function of images (B, C, H, W) alone, as exporting wants it.

    Args:
        model (nn.Module): A classifier, segmentor, detector or backbone.
        backbone_only (bool): Whether to leave out what follows the backbone. Defaults to False.
        normalize (bool): Whether images come in the range of the config's ``mean`` and ``std``,
            mostly 0 to 255, and are normalised here. Defaults to False.
        resize (bool): Whether to enlarge a segmentor's logits to the size of the images, as its
            own inference does. Defaults to False.

    Attributes:
        kind (str): ``'classifier'``, ``'segmentor'``, ``'detector'`` or ``'backbone'``.
        mean (list[float], optional): What the config subtracts from each channel; ``std``, what it
            divides by.
        rgb (bool): Whether the config swaps BGR, which the codebases load, for RGB.

    Raises:
        ValueError: If the model is none of those, has no backbone of this package, or lacks what
            is asked for.
    """

    def __init__(self, model: nn.Module, backbone_only: bool = False, normalize: bool = False,
                 resize: bool = False) -> None:
        super().__init__()
        find_backbones(model)  # or raises
        self.kind = 'backbone' if backbone_only else _kind_of(model)
        whole = self.kind != 'backbone' or isinstance(model, BaseBackbone)
        self.model = model if whole else model.backbone
        given = getattr(model, 'data_preprocessor', None)
        self.mean, self.std = (
            None if getattr(given, name, None) is None else
            [float(f'{value:.7g}') for value in getattr(given, name).flatten().tolist()]
            for name in ('mean', 'std'))
        self.rgb = any(getattr(given, name, False)
                       for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
        if normalize and self.mean is None:
            raise ValueError('there is nothing to normalise by: the data preprocessor of the '
                             'config has no mean and std')
        if resize and self.kind != 'segmentor':
            raise ValueError(f'logits of a segmentor can be resized; this is a {self.kind}')
        self.resize, self.normalize = resize, normalize
        self.tasks: List[str] = []  # of a head for several, once it has run

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Maps images to logits (B, classes) or (B, classes, H', W'), or to maps or vectors."""
        x = images
        if self.normalize:
            mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
            x = (x - mean) / std
        if self.kind == 'backbone':
            return tuple(self.model(x))
        if self.kind == 'detector':
            return tuple(self.model.extract_feat(x))
        logits = self.model(x, mode='tensor')
        if isinstance(logits, dict):  # of several tasks
            self.tasks = list(logits)
            return tuple(logits.values())
        if self.resize:
            logits = F.interpolate(
                logits, size=images.shape[2:], mode='bilinear',
                align_corners=self.model.align_corners)
        return (logits, )

    def output_names(self, outputs: Sequence[Tensor]) -> List[str]:
        """Names for what was returned: ``logits``; or ``map0`` and so on, ``vector0`` of (B, C)."""
        if self.kind in ('classifier', 'segmentor'):
            return self.tasks or ['logits']
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
    raise ValueError(
        f'{type(model).__name__} is not supported as a whole. Supported are classifiers '
        '(ImageClassifier) and segmentors (EncoderDecoder), whose output is logits; detectors up '
        'to their neck, and backbones, whose outputs are maps')


def size_multiple(model: nn.Module) -> Optional[int]:
    """What sides of images must be multiples of in a graph for several sizes; None for one size."""
    multiples = [backbone.size_multiple for backbone in find_backbones(model).values()]
    if None in multiples or any(map(_pools_into_bins, model.modules())):
        return None
    return math.prod(multiples)


def _pools_into_bins(module: nn.Module) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d) and to_2tuple(module.output_size) != (1, 1)


class BinPooling(nn.AdaptiveAvgPool2d):
    """Pooling as means of slices, for ONNX, which has it for even bins alone.

    A graph of it is for maps of one size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to averages (B, C, *output_size); bins may overlap by one."""
        for dim, bins in zip((2, 3), to_2tuple(self.output_size)):
            size = int(x.shape[dim])
            starts = [i * size // bins for i in range(bins)]
            ends = [-(-(i + 1) * size // bins) for i in range(bins)]
            x = torch.cat([x.narrow(dim, start, end - start).mean(dim, keepdim=True)
                           for start, end in zip(starts, ends)], dim)
        return x


@torch.no_grad()
def to_onnx(model: nn.Module, images: Tensor, output_names: Optional[Sequence[str]] = None,
            dynamic_axes: Optional[Dict[str, Dict[int, str]]] = None,
            metadata: Optional[Dict[str, object]] = None, opset: int = OPSET) -> bytes:
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
        ExportError: If ONNX, or PyTorch's exporter, lacks one of the model's operations.
    """
    import onnx
    for module in model.modules():
        for name, child in module.named_children():
            if _pools_into_bins(child):
                setattr(module, name, BinPooling(child.output_size))
    # From torch 2.9 on, the exporter that traces is to be asked for.
    choice = 'dynamo' in inspect.signature(torch.onnx.export).parameters
    options: Dict[str, object] = dict(dynamo=False) if choice else {}
    file = io.BytesIO()
    with _telling(f'write this model as ONNX, opset {opset}'):
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
    """Writes a model in evaluation mode as TorchScript, with ``metadata.json`` inside.

    See :func:`to_onnx` for the arguments and what is raised.
    """
    file = io.BytesIO()
    with _telling('write this model as TorchScript'):
        graph = torch.jit.trace(model, images, check_trace=False)
        torch.jit.save(graph, file, _extra_files={'metadata.json': json.dumps(metadata or {})})
    return file.getvalue()


@contextmanager
def _telling(task: str, program: str = f'torch {torch.__version__}') -> Iterator[None]:
    """Raises what a program fails with as an :class:`ExportError` of one paragraph.

    Warnings are left out: files are compared on images of other sizes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except Exception as error:  # onnxruntime's have no other base
        text = re.split(r'Please feel free|\[Caused by|\n\s*\n', str(error).strip())[0]
        reason = ' '.join(text.split()).rstrip('.') or type(error).__name__
        raise ExportError(f'{program} cannot {task}: {reason}') from error


class OnnxModel(nn.Module):
    """An ONNX file's content, see :func:`to_onnx`, run by onnxruntime on the CPU.

    Raises:
        ExportError: If onnxruntime lacks one of the file's operations, or fails, then or later.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        import onnxruntime
        self.program = f'onnxruntime {onnxruntime.__version__}'
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that went on waiting busily after a run would slow what comes next.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        options.log_severity_level = 4  # it warns of what it optimises away, and raises its errors
        with _telling('load the ONNX file', self.program):
            self.session = onnxruntime.InferenceSession(
                content, options, providers=['CPUExecutionProvider'])

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Maps images (B, C, H, W) to the outputs."""
        name = self.session.get_inputs()[0].name
        with _telling(f'run the ONNX file on images {tuple(images.shape)}', self.program):
            outs = self.session.run(None, {name: images.contiguous().numpy()})
        return tuple(map(torch.from_numpy, outs))


def load_exported(content: bytes, form: str) -> Union[OnnxModel, torch.jit.ScriptModule]:
    """What :func:`to_onnx` or :func:`to_torchscript` wrote, as it will run."""
    return OnnxModel(content) if form == 'onnx' else torch.jit.load(io.BytesIO(content))
