# Copyright (c) mmvisionmix authors. All rights reserved.
"""Images per second of whole backbones: deployed, in literal form, and peers of about their size.

    python tools/analysis_tools/benchmark_backbones.py
    python tools/analysis_tools/benchmark_backbones.py linglo-b0 --sizes 384x384 --dense-sizes

All run in one process, in turn, round after round, in float32 and inference mode; a figure is the
median over rounds. For --sizes they give one vector per image, as a classifier needs; for
--dense-sizes four maps, as detection and segmentation need. "Time over" is how many times the
deployed network's a time is. The peers come from timm, which nothing else here needs: pip install
timm. Those that can be folded for inference are.
"""
import argparse
from functools import partial
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch
from timing import add_options, positive, ratio, table, time_interleaved, with_unit, write_rows
from torch import nn

from mmvisionmix.models import BaseBackbone, DualFormer, LinGlo, MCGANet

HEADER = ('network', 'images', 'form', 'per batch', 'images/s', 'time over deployed')


class Contender(NamedTuple):
    """A backbone, and what it is compared with.

    Attributes:
        backbone: Its class. The options ``impl='literal'`` and ``gap_before_norm`` are its own.
        arch: Its size.
        peers: Names of its peers in timm, for classification.
        dense_peers: Those that give maps of images of any size.
        variants: Options of other networks to compare it with, deployed like it, by name.
    """
    backbone: Type[BaseBackbone]
    arch: str
    peers: Tuple[str, ...]
    dense_peers: Tuple[str, ...]
    variants: Dict[str, dict] = {}


CONTENDERS = {
    'linglo-b0': Contender(LinGlo, 'b0', ('pvt_v2_b0', ), ('pvt_v2_b0', )),
    'linglo-b1': Contender(LinGlo, 'b1', ('pvt_v2_b1', ), ('pvt_v2_b1', )),
    'linglo-b2': Contender(LinGlo, 'b2', ('pvt_v2_b2', ), ('pvt_v2_b2', )),
    'mcganet': Contender(
        MCGANet, 'base', ('pvt_v2_b0', 'repvit_m0_9'), ('pvt_v2_b0', 'repvit_m0_9')),
    'dualformer-xs': Contender(
        DualFormer, 'xs', ('coat_lite_mini', 'pvt_v2_b1'), ('pvt_v2_b1', ),
        {'k-means': dict(partition='k-means')}),
    'dualformer-s': Contender(
        DualFormer, 's', ('swin_tiny_patch4_window7_224', 'pvt_v2_b2'), ('pvt_v2_b2', )),
}
DEFAULT = ('linglo-b0', 'linglo-b2', 'mcganet', 'dualformer-xs', 'dualformer-s')


class Images(NamedTuple):
    """A batch of images and what is made of it: four maps if ``dense``, or else vectors."""
    batch: int
    height: int
    width: int
    dense: bool

    def __str__(self) -> str:
        outputs = 'maps' if self.dense else 'vectors'
        return f'{self.batch} x {self.height} x {self.width}, {outputs}'


def build_backbone(contender: Contender, dense: bool, form: str) -> nn.Module:
    """Our backbone for inference, in the paper's literal form, or else folded.

    Args:
        contender: Which backbone.
        dense: Whether it gives maps.
        form: ``'literal'``, ``'deployed'`` or the name of a variant.
    """
    options = (
        dict(out_indices=(0, 1, 2, 3)) if dense else dict(out_indices=-1, gap_before_norm=True))
    if form == 'literal':
        return contender.backbone(contender.arch, impl='literal', **options).eval()
    model = contender.backbone(contender.arch, **options, **contender.variants.get(form, {}))
    model.switch_to_deploy()
    return model.eval()


def build_peer(name: str, dense: bool) -> nn.Module:
    """A backbone of timm for inference, folded where timm can, without weights.

    Raises:
        ImportError: If timm is not installed.
    """
    try:
        import timm
        from timm.utils import reparameterize_model
    except ImportError as error:
        raise ImportError(f'the peer {name} comes from timm: pip install timm') from error
    peer = timm.create_model(
        name, **(dict(features_only=True) if dense else dict(num_classes=0)))
    return reparameterize_model(peer.eval())


def measure(name: str, images: Images, rounds: int) -> List[dict]:
    """Times one network, its other forms and its peers: a row each, times in seconds."""
    contender = CONTENDERS[name]
    models = {form: build_backbone(contender, images.dense, form)
              for form in ('deployed', 'literal', *contender.variants)}
    for peer in contender.dense_peers if images.dense else contender.peers:
        models[peer] = build_peer(peer, images.dense)
    x = torch.randn(images.batch, 3, images.height, images.width)
    with torch.inference_mode():
        times = time_interleaved(
            {form: partial(model, x) for form, model in models.items()}, rounds,
            f'{name}, {images}')
    return [dict(images._asdict(), network=name, form=form, seconds=seconds,
                 images_per_second=images.batch / seconds) for form, seconds in times.items()]


def markdown(rows: List[dict]) -> str:
    """All figures as a table, with ratios of times to the deployed network's."""
    deployed: Dict[Tuple, float] = {}
    lines = []
    for row in rows:
        key = (row['network'], str(Images(*(row[field] for field in Images._fields))))
        if row['form'] == 'deployed':
            deployed[key] = row['seconds']
        lines.append((
            *key, row['form'], with_unit(row['seconds'], 'ms', 1e3),
            f'{row["images_per_second"]:.3g}', ratio(row['seconds'], deployed[key])))
    return table(HEADER, lines)


def read_size(text: str) -> Tuple[int, int]:
    """Reads ``HEIGHTxWIDTH`` from the command line."""
    sides = text.split('x')
    if len(sides) != 2:
        raise argparse.ArgumentTypeError(f'must be HEIGHTxWIDTH, got {text!r}')
    return positive(sides[0]), positive(sides[1])


def read_network(text: str) -> str:
    """Reads the name of a contender from the command line."""
    if text not in CONTENDERS:
        raise argparse.ArgumentTypeError(f'no network {text}; there are {", ".join(CONTENDERS)}')
    return text


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'networks', nargs='*', type=read_network, default=DEFAULT, metavar='NETWORK',
        help=f'one or more of {", ".join(CONTENDERS)} (default: {" ".join(DEFAULT)})')
    for prefix, use, size, batch in (('', 'classification', '224x224', 4),
                                     ('dense-', 'dense prediction', '800x1280', 1)):
        parser.add_argument(
            f'--{prefix}sizes', type=read_size, nargs='*', default=[read_size(size)],
            metavar='HEIGHTxWIDTH', help=f'pixels of images for {use}, or none (default: {size})')
        parser.add_argument(
            f'--{prefix}batch', type=positive, default=batch, help='(default: %(default)s)')
    add_options(parser, rounds=15)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the table that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    batches = [Images(args.batch, *size, dense=False) for size in args.sizes]
    batches += [Images(args.dense_batch, *size, dense=True) for size in args.dense_sizes]
    rows = sum((measure(name, images, args.rounds)
                for name in args.networks for images in batches), [])
    print(f'\n{markdown(rows)}')
    if args.json:
        write_rows(rows, args.json)


if __name__ == '__main__':
    main()
