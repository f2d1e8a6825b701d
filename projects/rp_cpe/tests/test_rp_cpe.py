# Copyright (c) mmvisionmix authors. All rights reserved.
"""RP-CPE goes into stock networks and out again without changing what they compute."""
import os
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmdet.models import PyramidVisionTransformerV2
from mmengine.model import revert_sync_batchnorm
from mmseg.models import MixVisionTransformer
from rp_cpe import calibrate, fold, plug
from torch import nn

from mmvisionmix.models.layers import ConditionalPositionalEncoding

PROJECT = Path(__file__).resolve().parents[1]
ROOT = PROJECT.parents[1]
NETWORKS = dict(
    segformer=lambda: MixVisionTransformer(embed_dims=8, num_heads=[1, 2, 4, 8]),
    pvtv2=lambda: PyramidVisionTransformerV2(
        embed_dims=8, num_layers=[1, 2, 1, 1], drop_path_rate=0.))
X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()


class Segmentor(nn.Module):
    """A backbone as a model of MMEngine, whose data need no preparation."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.data_preprocessor = lambda batch, training: batch

    def forward(self, inputs, mode):
        return self.backbone(inputs)


def relative(outs, expected):
    return max(((out - want).norm() / want.norm()).item() for out, want in zip(outs, expected))


@pytest.mark.parametrize('name', NETWORKS)
def test_outputs_stay_when_plugged_and_calibrated_and_when_folded_after_training(name):
    torch.manual_seed(0)
    stock = revert_sync_batchnorm(NETWORKS[name]()).double().eval()
    for param in stock.parameters():
        nn.init.normal_(param, std=0.2)
    model = plug(deepcopy(stock))
    encodings = [one for one in model.modules() if isinstance(one, ConditionalPositionalEncoding)]
    assert len(encodings) == sum(stock.num_layers) and all(one.residual for one in encodings)
    assert relative(model(X), stock(X)) < 1e-10
    calibrate(Segmentor(model), [dict(inputs=X)])
    assert relative(model(X), stock(X)) < 1e-10
    assert relative(model.train()(X), stock(X)) < 0.05  # statistics of the batch, not of images

    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(out.square().mean() for out in model(X)).backward()
        assert all(param.grad.isfinite().all() for param in model.parameters())
        optimizer.step()
    scales = [branch.norm.weight for one in encodings for branch in one.branches[1:]]
    assert all(scale.abs().max() > 0 for scale in scales)  # zeros at first, which have learnt
    before = [out.detach() for out in model.eval()(X)]
    weights = fold(model.state_dict())
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in stock.state_dict().items()}
    stock.load_state_dict(weights)
    assert relative(stock(X), before) < 1e-10


def test_networks_without_such_layers_are_refused():
    with pytest.raises(ValueError, match='has no 3 x 3 depthwise convolution'):
        plug(nn.Conv2d(4, 4, 3, padding=1))
    with pytest.raises(ValueError, match='has no RP-CPE'):
        fold(dict(weight=torch.zeros(1)))


def test_commands_of_the_page_on_demo_data(run_tool, demo_ade20k, tmp_path, monkeypatch):
    """Trains, plugs, fine-tunes, folds, and tests: folded, the figures are the same."""
    paths = [str(PROJECT), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))
    (tmp_path / 'data').mkdir()
    make_camvid(demo_ade20k, tmp_path / 'data/camvid/CamVid')
    stock, plugged = (next((PROJECT / 'configs').glob(f'{name}_*')) for name in (
        'mit-b0_segformer_1xb4-600', 'mit-b0-rp-cpe'))
    short = ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
             'train_dataloader.dataset.pipeline.3.crop_size="(64,64)"',
             'model.data_preprocessor.size="(64,64)"', 'default_hooks.checkpoint.interval=2']
    train, test, tool = ROOT / 'tools/train.py', ROOT / 'tools/test.py', PROJECT / 'rp_cpe.py'
    run_tool(train, stock, '--work-dir', 'one', *short, cwd=tmp_path)
    run_tool(tool, 'plug', stock, 'one/iter_2.pth', 'plugged.pth', '--batches', 2, cwd=tmp_path)
    run_tool(train, plugged, '--work-dir', 'two', *short, 'load_from=plugged.pth', cwd=tmp_path)
    run_tool(tool, 'fold', 'two/iter_2.pth', 'folded.pth', cwd=tmp_path)
    found = [run_tool(test, cfg, weights, cwd=tmp_path).rpartition('aAcc')[2].partition('data_')[0]
             for cfg, weights in ((plugged, 'two/iter_2.pth'), (stock, 'folded.pth'))]
    assert found[0] == found[1] and 'mIoU' in found[0]


def make_camvid(scenes, out):
    """The demo scenes under the names of CamVid's folders."""
    from PIL import Image
    for split, part in (('train', 'training'), ('val', 'validation'), ('test', 'validation')):
        for source, target in (('images', split), ('annotations', f'{split}annot')):
            (out / target).mkdir(parents=True)
            for file in sorted((scenes / source / part).iterdir())[:4]:
                Image.open(file).save(out / target / f'{file.stem}.png')
