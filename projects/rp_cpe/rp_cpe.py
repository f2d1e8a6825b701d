# Copyright (c) mmvisionmix authors. All rights reserved.
"""Puts RP-CPE into a trained SegFormer or PVTv2, and folds it back into the very same network.

    python projects/rp_cpe/rp_cpe.py plug CONFIG CHECKPOINT plugged.pth
    python projects/rp_cpe/rp_cpe.py fold TRAINED folded.pth

Both networks tell positions apart by a 3 x 3 depthwise convolution in every feed-forward network.
RP-CPE, the residual parallel conditional positional encoding of the LinGlo paper, is such a
convolution in inference; in training it is four branches and a residual. See README.md.
"""
import argparse
import re
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch import Tensor, nn

from mmvisionmix.models.layers import ConditionalPositionalEncoding


def depthwise_convs(model: nn.Module) -> Iterator[Tuple[nn.Module, str, nn.Conv2d]]:
    """Finds 3 x 3 depthwise convolutions that keep the size: their parents, names, and they."""
    own = {part for module in model.modules() if isinstance(module, ConditionalPositionalEncoding)
           for part in module.modules()}
    for parent in model.modules():
        for name, conv in parent.named_children():
            if (isinstance(conv, nn.Conv2d) and parent not in own and conv.kernel_size == (3, 3)
                    and conv.groups == conv.in_channels == conv.out_channels > 1
                    and conv.stride == conv.padding == conv.dilation == (1, 1)):
                yield parent, name, conv


@torch.no_grad()
def plug(model: nn.Module, num_branches: int = 4) -> nn.Module:
    """Puts RP-CPE in the place of every depthwise convolution; outputs in inference stay.

    The first branch is the convolution less the residual. The scales of the others' norms are
    zero, and learn first.

    Raises:
        ValueError: If there is no such convolution.
    """
    found = list(depthwise_convs(model))
    if not found:
        raise ValueError(f'{type(model).__name__} has no 3 x 3 depthwise convolution')
    for parent, name, conv in found:
        encoding = ConditionalPositionalEncoding(conv.in_channels, num_branches)
        encoding.to(conv.weight).train(conv.training)
        first, *others = encoding.branches
        first.conv.weight.copy_(conv.weight)
        first.conv.weight[:, :, 1, 1] -= 1
        first.norm.weight.fill_((1 + first.norm.eps)**0.5)
        if conv.bias is not None:
            first.norm.bias.copy_(conv.bias)
        for other in others:
            other.norm.weight.zero_()
        setattr(parent, name, encoding)
    return model


def _branches(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        if isinstance(module, ConditionalPositionalEncoding):
            yield from module.branches


@torch.no_grad()
def calibrate(model: nn.Module, batches: Sequence[dict]) -> None:
    """Gives the norms of fresh branches the statistics of data; outputs in inference stay.

    In training a batch norm takes those of its batch. So the network trains from where it was.

    Args:
        model: A segmentor or the like, plugged and not trained since.
        batches: What its data loader gives.
    """
    outputs: Dict[nn.Module, Tuple[Tensor, Tensor, int]] = {}

    def record(conv: nn.Module, args: Tuple[Tensor], out: Tensor) -> None:
        values = out.double().transpose(0, 1).flatten(1)  # (C, values)
        sums, squares, count = outputs.get(conv, (0, 0, 0))
        outputs[conv] = (
            sums + values.sum(1), squares + values.square().sum(1), count + values.shape[1])

    branches = list(_branches(model))
    handles = [branch.conv.register_forward_hook(record) for branch in branches]
    model.eval()
    for batch in batches:
        model(**model.data_preprocessor(batch, True), mode='tensor')  # padded alike
    for handle in handles:
        handle.remove()
    for branch in branches:
        sums, squares, count = outputs[branch.conv]
        mean = sums / count
        variance = squares / count - mean.square()
        norm = branch.norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias += scale * (mean - norm.running_mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (norm.running_var + norm.eps).sqrt())


@torch.no_grad()
def fold(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Folds RP-CPE in a checkpoint's weights: they are those of the stock network again.

    Raises:
        ValueError: If there is none.
    """
    folded: Dict[str, Tensor] = {}
    for name, value in weights.items():
        place, branch, _ = name.partition('.branches.')
        if not branch:
            folded[name] = value
        elif f'{place}.weight' not in folded:
            own = {key[len(place) + 1:]: given for key, given in weights.items()
                   if key.startswith(f'{place}.branches.')}
            number = 1 + max(int(key.split('.')[1]) for key in own)
            encoding = ConditionalPositionalEncoding(len(value), number).to(value)
            encoding.load_state_dict(own)
            conv = encoding.eval().fold()
            folded[f'{place}.weight'], folded[f'{place}.bias'] = conv.weight.data, conv.bias.data
    if len(folded) == len(weights):
        raise ValueError('the checkpoint has no RP-CPE')
    return folded


@MODELS.register_module()
def plugged(network: dict, num_branches: int = 4) -> nn.Module:
    """Builds a backbone and puts RP-CPE into it: ``backbone=dict(type='plugged', network=...)``."""
    return plug(MODELS.build(network), num_branches)


def plug_checkpoint(config: str, checkpoint: str, batches: int) -> Dict[str, Tensor]:
    """The weights of a config's network, trained, with RP-CPE put into its backbone."""
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
        plug(model.backbone)
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        calibrate(model, [batch for _, batch in zip(range(batches), loader)])
    return model.state_dict()


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    one = commands.add_parser('plug', help='put RP-CPE in, with statistics of training images')
    one.add_argument('config', help='config of the stock network')
    one.add_argument('checkpoint', help='its weights')
    one.add_argument('--batches', type=int, default=8, help='for statistics (default: 8)')
    other = commands.add_parser('fold', help='fold it back')
    other.add_argument('checkpoint', help='weights of a network with RP-CPE')
    for command in (one, other):
        command.add_argument('out', type=Path, help='file to write')
    args = parser.parse_args(argv)
    import mmvisionmix  # noqa: F401  torch then loads MMEngine's checkpoints
    if args.command == 'plug':
        weights = plug_checkpoint(args.config, args.checkpoint, args.batches)
    else:
        loaded = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
        weights = fold(loaded['state_dict'])
    torch.save(dict(state_dict=weights, meta={}), args.out)
    layers = len({re.sub(r'\.\w+$', '', name) for name in weights})
    print(f'{args.out}: {layers} layers, {sum(map(Tensor.numel, weights.values())):,} values')


if __name__ == '__main__':
    main()
