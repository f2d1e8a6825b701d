# Copyright (c) mmvisionmix authors. All rights reserved.
"""The tools of the three codebases on our configs: what docs/stock_tools.md says that works."""
import hashlib
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
import torch
from forked import run_tool
from mmengine.config import Config
from mmengine.utils import get_installed_path
from test_entry_recipes import ROOT, TASKS

from mmvisionmix.complexity import count_complexity

pytestmark = pytest.mark.xdist_group('stock_tools')  # trained once
CODEBASES = ('mmpretrain', 'mmseg', 'mmdet')
every_codebase = pytest.mark.parametrize('codebase', CODEBASES)
CONFIGS = {'mmseg': 'fpn_linglo_b0_ade20k', 'mmdet': 'retinanet_linglo_b0_coco',
           'mmpretrain': 'linglo_b0_imagenet'}
TASK = {'mmseg': 'segmentation', 'mmdet': 'retinanet', 'mmpretrain': 'imagenet'}
LENGTH = {'mmseg': 'train_cfg.max_iters=2', 'mmdet': 'train_cfg.max_epochs=2',
          'mmpretrain': 'train_cfg.max_epochs=2'}
METRICS = {'mmseg': 'mIoU', 'mmdet': 'coco/bbox_mAP', 'mmpretrain': 'accuracy/top5'}
LAST = {'mmseg': 'iter_2.pth', 'mmdet': 'epoch_2.pth', 'mmpretrain': 'epoch_2.pth'}


class Tools(NamedTuple):
    """A folder outside the repository with a trained model of each codebase, and its tools."""
    folder: Path

    def run(self, script, *args):
        return run_tool(script, *args, cwd=self.folder)

    def stock(self, codebase, script, *args):
        """Runs a tool of a codebase."""
        return self.run(Path(get_installed_path(codebase), '.mim/tools', script), *args)

    def configured(self, codebase, script, *args, options=()):
        """Likewise, on our config, shortened."""
        return self.stock(
            codebase, script, config(codebase), *args, '--cfg-options', *self.options(codebase),
            *options)

    def options(self, codebase):
        """What shortens a config, and names the data."""
        loaders = [
            f'{split}_dataloader.{setting}' for split in ('train', 'val', 'test')
            for setting in ('num_workers=0', 'persistent_workers=False',
                            f'dataset.data_root={codebase}')]
        short = [option.format(data=codebase) for option in TASKS[TASK[codebase]][3]]
        tested = [option.replace('val', 'test', 1) for option in short if option.startswith('val')]
        return [*loaders, *short, *tested, LENGTH[codebase], 'default_hooks.logger.interval=1',
                'default_hooks.checkpoint.max_keep_ckpts=3']

    def checkpoint(self, codebase):
        """The model trained by the codebase's own tool."""
        return self.folder / f'work-{codebase}' / LAST[codebase]

    def scalars(self, codebase):
        """Its log."""
        return sorted(self.folder.glob(f'work-{codebase}/*/vis_data/scalars.json'))[0]

    def validated(self, codebase):
        """Its metric after the last step of training."""
        lines = map(json.loads, self.scalars(codebase).read_text().splitlines())
        return [line[METRICS[codebase]] for line in lines if METRICS[codebase] in line][-1]


def config(codebase):
    return ROOT / f'configs/{CONFIGS[codebase]}.py'


def logged(codebase, out):
    """The metric that a test ends with."""
    return float(re.findall(METRICS[codebase] + r': ([\d.]+)', out)[-1])


@pytest.fixture(scope='module')
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp('stock')
    tools = Tools(folder)
    for codebase in CODEBASES:
        _, write, amount, *_ = TASKS[TASK[codebase]]
        write(folder / codebase, amount)
        tools.configured(codebase, 'train.py', '--work-dir', f'work-{codebase}')
        assert tools.checkpoint(codebase).exists()
    return tools


@pytest.fixture(scope='module')
def tested(tools):
    """What the test tools log and write: metric, predictions and pictures, by codebase."""
    outs = {}
    for codebase in CODEBASES:
        options = ['default_hooks.visualization.interval=1'] if codebase == 'mmseg' else []
        outs[codebase] = tools.configured(
            codebase, 'test.py', tools.checkpoint(codebase), '--work-dir', f'test-{codebase}',
            '--out', f'out-{codebase}' + '.pkl' * (codebase != 'mmseg'),
            '--show-dir', f'shown-{codebase}', options=options)
    return outs


@every_codebase
def test_resumes(tools, codebase):
    unit = 'max_iters=3' if codebase == 'mmseg' else 'max_epochs=3'
    folder = tools.folder / f'resumed-{codebase}'
    folder.mkdir()
    (folder / 'last_checkpoint').write_text(str(tools.checkpoint(codebase)))
    out = tools.configured(
        codebase, 'train.py', '--work-dir', folder, '--resume', options=[f'train_cfg.{unit}'])
    assert 'resumed epoch: 0, iter: 2' in out if codebase == 'mmseg' else (
        'resumed epoch: 2, iter: 4' in out)
    steps = re.findall(r'(?:Iter|Epoch)\(train\) +\[(\d)', out)
    assert steps and set(steps) == {'3'}


@every_codebase
def test_tests_as_training_validated(tools, tested, codebase):
    assert logged(codebase, tested[codebase]) == pytest.approx(
        tools.validated(codebase), abs=1e-4)


@every_codebase
def test_tests_augmented_images(tools, codebase):
    out = tools.configured(
        codebase, 'test.py', tools.checkpoint(codebase), '--tta', '--work-dir', 'tta')
    assert "type='TestTimeAug'" in out
    ours = tools.run(
        ROOT / 'tools/test.py', config(codebase), tools.checkpoint(codebase), '--tta',
        '--work-dir', 'ours-tta', '--cfg-options', *tools.options(codebase))
    assert logged(codebase, ours) == logged(codebase, out)


@every_codebase
def test_our_test_tool_draws_what_the_stock_one_draws(tools, tested, codebase):
    out = tools.run(
        ROOT / 'tools/test.py', config(codebase), tools.checkpoint(codebase), '--work-dir', 'ours',
        '--show-dir', f'drawn-{codebase}', '--cfg-options', *tools.options(codebase))
    assert logged(codebase, out) == logged(codebase, tested[codebase])
    stock = {picture.name: cv2.imread(str(picture)) for picture in tools.folder.rglob('*.*g')
             if f'shown-{codebase}' in picture.parts}
    drawn = {picture.name: cv2.imread(str(picture))
             for picture in (tools.folder / f'drawn-{codebase}').rglob('*.*g')}
    assert drawn.keys() == stock.keys() and len(drawn) == (10 if codebase == 'mmpretrain' else 2)
    for name, picture in drawn.items():
        if codebase == 'mmpretrain':  # whose hook takes BGR for RGB
            assert abs(picture - stock[name][..., ::-1].astype(int)).mean() < 1
        else:
            assert (picture == stock[name]).all()


@every_codebase
def test_whole_config_is_printed(tools, codebase):
    out = tools.stock(codebase, 'misc/print_config.py', config(codebase))
    assert "type='mmvisionmix.LinGlo'" in out and '_base_ =' not in out


@pytest.mark.parametrize('codebase', ('mmpretrain', 'mmdet'))
def test_parameters_are_counted(tools, codebase):
    out = (tools.stock(codebase, 'analysis_tools/get_flops.py', config(codebase))
           if codebase == 'mmpretrain' else
           tools.configured(codebase, 'analysis_tools/get_flops.py', '--num-images', '1'))
    count = count_complexity(Config.fromfile(config(codebase)), size=(64, 64))
    assert f'Params: {count.parameters / 1e6:.3f}M' in out


def test_stock_reparameterized_classifier_is_deployed(tools, tested):
    folded = tools.folder / 'folded.pth'
    tools.stock('mmpretrain', 'model_converters/reparameterize_model.py', config('mmpretrain'),
                tools.checkpoint('mmpretrain'), folded)
    assert not [key for key in torch.load(folded)['state_dict'] if 'encoding.branches' in key]
    out = tools.run(
        ROOT / 'tools/test.py', config('mmpretrain'), folded, '--deploy', '--work-dir', 'folded',
        '--cfg-options', *tools.options('mmpretrain'))
    assert logged('mmpretrain', out) == logged('mmpretrain', tested['mmpretrain'])


def test_activations_of_our_backbone_are_drawn(tools):
    image = next((tools.folder / 'mmpretrain/val').rglob('*.JPEG'))
    tools.stock('mmpretrain', 'visualization/vis_cam.py', image, config('mmpretrain'),
                tools.checkpoint('mmpretrain'), '--target-layers', 'backbone.stages.3.blocks.1.ffn',
                '--save-path', 'cam.png')
    assert cv2.imread(str(tools.folder / 'cam.png')).std() > 5


@every_codebase
def test_published_checkpoint_is_named_by_its_hash_and_holds_no_optimizer(tools, codebase):
    """As the page says, with mmvisionmix imported, which declares what a checkpoint holds."""
    page = (ROOT / 'docs/stock_tools.md').read_text(encoding='utf-8')
    script = tools.folder / 'publish.py'
    script.write_text(re.search(r'python -c "(import mmvisionmix.*?)"', page, re.DOTALL).group(1))
    stock = 'misc' if codebase == 'mmseg' else 'model_converters'
    folder = tools.folder / f'published-{codebase}'
    folder.mkdir()
    tools.run(script, Path(get_installed_path(codebase), '.mim/tools', stock, 'publish_model.py'),
              tools.checkpoint(codebase), folder / 'model.pth')
    for _ in range(50):  # two of the tools leave renaming to a process of its own
        found = list(folder.glob('model*-????????.pth'))
        if found and not (folder / 'model.pth').exists():
            break
        time.sleep(0.1)
    published, = found
    # mmsegmentation's takes the hash of the checkpoint that it was given.
    hashed = tools.checkpoint(codebase) if codebase == 'mmseg' else published
    assert published.stem.endswith(hashlib.sha256(hashed.read_bytes()).hexdigest()[:8])
    trained, weights = (torch.load(path) for path in (tools.checkpoint(codebase), published))
    assert 'optimizer' in trained and 'optimizer' not in weights
    assert weights['state_dict'].keys() == trained['state_dict'].keys()
