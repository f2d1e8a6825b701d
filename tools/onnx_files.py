# Copyright (c) mmvisionmix authors. All rights reserved.
"""ONNX files of tools/model_converters/export.py: what they know, in int8, in a model's place."""
import json
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmvisionmix.datasets.availability import leaf_datasets, type_name
from mmvisionmix.export import Exportable, OnnxModel

About = Dict[str, Any]
MOST, COMPARED = 128, 16
"""Pictures that a file in int8 is calibrated on, and compared on with the one in float."""
QUANTIZED = ('Conv', 'MatMul', 'Gemm')
"""Operators that compute in int8, where they multiply by weights. The rest, such as norms, softmax
and products of maps, loses more in precision there than it gains in time."""
PICTURES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def describe(model: Exportable, classes: Sequence[str] = (), multiple: int = 1) -> About:
    """What a user of a file needs to know, as it is kept in the file."""
    return dict(
        mean=model.mean, std=model.std, normalized_inside=model.normalize,
        channels='RGB' if model.rgb else 'as the config loads them', size_multiple=multiple,
        classes=list(classes))


def as_taken(about: About, images: Tensor) -> Tensor:
    """What a file takes, of what the config's data preprocessor gives."""
    if not about['normalized_inside']:
        return images
    mean, std = (images.new_tensor(about[key]).view(1, -1, 1, 1) for key in ('mean', 'std'))
    return images * std + mean


class OnnxFile(OnnxModel):
    """A file that is run as it was exported, and knows what it takes.

    Args:
        content (bytes): The file's content.
        name (str): What messages call it.

    Raises:
        ValueError: If it is not of tools/model_converters/export.py.
    """

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name
        try:
            self.about: About = {key: json.loads(value) for key, value in self.metadata().items()}
            self.batch, _, *self.sides = self.session.get_inputs()[0].shape
            self.multiple = self.about['size_multiple']
        except (ValueError, KeyError) as error:
            raise ValueError(f'{name} is not of tools/model_converters/export.py; one of mmdeploy '
                             'is tested by its own tools, see docs/deploy.md') from error

    def metadata(self) -> Dict[str, str]:
        """What is kept in the file, by name."""
        return self.session.get_modelmeta().custom_metadata_map

    def batches(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Splits images, as a data preprocessor gives them, into batches that the file takes.

        The last one is filled with copies of the last image.

        Raises:
            ValueError: If they have another size.
        """
        height, width = images.shape[2:]
        if any(isinstance(side, int) and side != own
               for side, own in zip(self.sides, (height, width))):
            raise ValueError(
                f'{self.name} takes images of {self.sides[0]}x{self.sides[1]} pixels, and the test '
                f'pipeline of the config gives one of {height}x{width}: export with --size '
                f'{height}x{width} or, where the model allows it, --dynamic-size')
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f'{self.name} takes images whose sides are multiples of {self.multiple}, and the '
                f'test pipeline of the config gives one of {height}x{width}: export with --size '
                f'{height}x{width}')
        count = self.batch if isinstance(self.batch, int) else len(images)
        images = as_taken(self.about, images).cpu()
        missing = -len(images) % count
        return torch.cat((images, images[-1:].expand(missing, -1, -1, -1))).split(count)


# ------------------------------------------------------------------ in a model's place
class OnnxLogits(nn.Module):
    """A file in the place of a backbone: maps images to a tuple of logits.

    Args:
        file (OnnxFile): It has logits.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file = file

    def forward(self, images: Tensor) -> Tuple[Tensor]:
        """Maps images (B, C, H, W) to logits (B, classes) or (B, classes, H', W')."""
        logits = torch.cat([self.file(batch)[0] for batch in self.file.batches(images)])
        return (logits[:len(images)].to(images.device), )

    def __deepcopy__(self, memo: dict) -> 'OnnxLogits':
        return self  # hooks copy models, to average weights, of which a file has none


def use_onnx(model: nn.Module, path: str) -> List[str]:
    """Puts a file in the place of a model's layers; how it takes images and predicts stays.

    Args:
        model: A classifier or segmentor of the config that the file was exported with.
        path: The file.

    Returns:
        The names of the file's classes, as far as it has them.

    Raises:
        ValueError: If the file has no logits, or was exported with another config.
    """
    file = OnnxFile(Path(path).read_bytes(), path)
    outputs = file.session.get_outputs()
    ours = Exportable(model)
    if ours.kind not in ('classifier', 'segmentor') or [out.name for out in outputs] != ['logits']:
        raise ValueError(
            f'{path} gives {", ".join(out.name for out in outputs)}, and the config has a '
            f'{ours.kind}. Files are tested that give the logits of a classifier or segmentor; '
            'detectors are exported and tested by mmdeploy, see docs/deploy.md')
    head = model.head if ours.kind == 'classifier' else model.decode_head
    number = outputs[0].shape[1]
    wanted = getattr(head, 'out_channels', None) or getattr(head, 'num_classes', number)
    for key, theirs, own in [('classes', number, wanted), *(
            (key, file.about[key], describe(ours)[key]) for key in ('mean', 'std', 'channels'))]:
        if theirs != own:
            raise ValueError(f'{path} was exported with {key} {theirs}, and the config has {own}: '
                             'test with the config that it was exported with')
    model.backbone, model.neck = OnnxLogits(file), None
    head.forward = itemgetter(-1)
    return file.about['classes']


# ------------------------------------------------------------------ in int8
class Pictures:
    """Pictures of a folder and of those inside, prepared as the config's are for a test.

    A pipeline that loads nothing, as of CIFAR's own files, is given RGB.

    Args:
        cfg (Config): Has a ``test_dataloader``.
        model (nn.Module): Its model, with a data preprocessor.
        folder (Path): Of it, up to :data:`MOST` are taken, evenly.

    Raises:
        ValueError: If there are no pictures, or the config does not say how they are prepared.
    """

    def __init__(self, cfg: Config, model: nn.Module, folder: Path) -> None:
        paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in PICTURES)
        dataset = next(leaf_datasets((cfg.get('test_dataloader') or {}).get('dataset') or {}))
        if not paths:
            raise ValueError(f'--int8: {folder} has no pictures, of {", ".join(PICTURES)}')
        if not dataset.get('pipeline') or not hasattr(model, 'data_preprocessor'):
            raise ValueError('--int8: the config has no test_dataloader with a pipeline, or its '
                             'model no data preprocessor, to prepare pictures with')
        self.paths = paths[::-(-len(paths) // MOST)]
        self.loads = type_name(dataset.pipeline[0]).startswith('Load')
        self.preprocessor = model.data_preprocessor
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            self.pipeline = Compose([step for step in dataset.pipeline
                                     if not type_name(step).endswith('Annotations')])

    def __iter__(self) -> Iterator[Tensor]:
        """Batches of one image each."""
        for path in self.paths:
            sample: Dict[str, Any] = dict(img_path=str(path), img_id=0)
            if not self.loads:
                image = mmcv.imread(str(path), channel_order='rgb')
                sample.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
            yield self.preprocessor(pseudo_collate([self.pipeline(sample)]))['inputs']


class Reader:
    """Batches of an iterator, as onnxruntime's calibration asks for them."""

    def __init__(self, batches: Iterator[Tensor]) -> None:
        self.batches = batches

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        """The next batch; None at the end."""
        return next((dict(images=batch.numpy()) for batch in self.batches), None)


def quantize(content: bytes, pictures: Pictures) -> bytes:
    """Quantises a file statically, weights by channel, and prints how much that changes it.

    Weights have 7 bits, so that CPUs without VNNI do not saturate.

    Args:
        content: A file of opset 13 or later.
        pictures: Show the range of values.

    Returns:
        The new file's content, with the metadata of the old one.

    Raises:
        ValueError: If the file takes images of another size than ``pictures``.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_static
    before = OnnxFile(content, 'the file')
    batches = (batch for images in pictures for batch in before.batches(images))
    with TemporaryDirectory() as folder:
        plain, file = (str(Path(folder, name)) for name in ('plain.onnx', 'int8.onnx'))
        quant_pre_process(onnx.load_model_from_string(content), plain, skip_symbolic_shape=True)
        quantize_static(
            plain, file, Reader(batches), op_types_to_quantize=QUANTIZED, per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            extra_options=dict(MatMulConstBOnly=True))
        graph = onnx.load(file)
    onnx.helper.set_model_props(graph, before.metadata())
    quantized = graph.SerializeToString()
    print(f'int8: ranges of values from {len(pictures.paths)} pictures; '
          + _difference(before, OnnxModel(quantized), pictures)
          + f'; {len(content) / 2**20:.1f} -> {len(quantized) / 2**20:.1f} MiB')
    return quantized


def _difference(before: OnnxFile, after: OnnxModel, pictures: Pictures) -> str:
    """How far the outputs of two files are apart on some pictures."""
    errors, same = [], []
    for images in islice(pictures, COMPARED):
        for batch in before.batches(images):
            wanted, found = before(batch), after(batch)
            errors += [((out - want).norm() / want.norm()).item()
                       for want, out in zip(wanted, found)]
            same.append((wanted[-1].argmax(1) == found[-1].argmax(1)).float().mean().item())
    return (f'on {len(same)} of them relative error {np.mean(errors):.1e}, the largest channel is '
            f'the same in {np.mean(same):.1%}')
