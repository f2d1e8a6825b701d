# Copyright (c) mmvisionmix authors. All rights reserved.
"""From demo data to a trained, tested, deployed and drawn model, in Python.

    python docs/walkthrough.py                      200 iterations
    python docs/walkthrough.py --iterations 600     as in tools/quickstart.sh

Needs the extras seg and demo. Everything is written to a new folder, work_dirs/walkthrough. Each
function is a step that you can copy; main() calls them in turn.
"""
import argparse
import sys
from pathlib import Path
from typing import List

import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model
from torch import nn

from mmvisionmix import config_path
from mmvisionmix.models import find_backbones, switch_to_deploy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tools/dataset_tools'))
from demo_data import PALETTE, SceneRecipe, write_ade20k  # noqa: E402  beside this folder


# ------------------------------------------------------------------ 1. data
def make_data(folder: Path, size: int) -> None:
    """Writes scenes made of real photographs, in the layout of ADE20K."""
    write_ade20k(folder, SceneRecipe(size=size, train=160, val=16))


# ------------------------------------------------------------------ 2. a config, changed in Python
def make_config(data: Path, work_dir: Path, size: int, iterations: int) -> Config:
    """LKCA-ViT with UPerNet: a config of the package, on these data and for so many iterations."""
    cfg = Config.fromfile(config_path('lkca_upernet_demo-ade20k'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
        loader.num_workers = 0
        loader.persistent_workers = False
    cfg.merge_from_dict(dict(
        work_dir=str(work_dir),
        crop_size=(size, size),
        model=dict(data_preprocessor=dict(size=(size, size)), backbone=dict(img_size=size)),
        train_cfg=dict(max_iters=iterations, val_interval=iterations),
        default_hooks=dict(checkpoint=dict(interval=iterations))))
    warm_up, decay = cfg.param_scheduler
    warm_up.end = decay.begin = iterations // 10
    decay.end = iterations
    return cfg


# ------------------------------------------------------------------ 3. train and test
def train(cfg: Config) -> Path:
    """Trains by MMEngine's runner, which also validates; returns the checkpoint."""
    Runner.from_cfg(cfg).train()
    return Path(cfg.work_dir, f'iter_{cfg.train_cfg.max_iters}.pth')


def test(cfg: Config, checkpoint: Path) -> float:
    """Tests a checkpoint; returns mean IoU in percent."""
    cfg = cfg.copy()
    cfg.load_from = str(checkpoint)
    return float(Runner.from_cfg(cfg).test()['mIoU'])


# ------------------------------------------------------------------ 4. deploy
def deploy(model: nn.Module, size: int) -> float:
    """Folds the backbone for inference; returns by how much that changes its maps."""
    backbone, = find_backbones(model).values()
    image = torch.rand(1, 3, size, size)
    with torch.no_grad():
        before = backbone(image)[-1]
        switch_to_deploy(model)
        return float((backbone(image)[-1] - before).norm() / before.norm())


# ------------------------------------------------------------------ 5. draw
def draw(model: nn.Module, images: List[Path], out: Path) -> None:
    """Draws images above what the model sees in them, and the first layer's kernel."""
    backbone, = find_backbones(model).values()
    figure = Figure(figsize=(2.2 * (len(images) + 1), 4.6), layout='constrained')
    axes = figure.subplots(2, len(images) + 1)
    for (above, below), path in zip(axes.T, images):
        result = inference_model(model, str(path))
        classes = result.pred_sem_seg.data[0].cpu()
        above.imshow(imread(path))
        below.imshow(torch.tensor(PALETTE)[classes])
    kernel = backbone.stages[0].mixer.kernel.detach()
    limit = float(kernel.abs().max())
    axes[0, -1].imshow(kernel, cmap='RdBu_r', vmin=-limit, vmax=limit)
    axes[0, -1].set_title('kernel of block 0', fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(out)


# ------------------------------------------------------------------ all of it
def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/walkthrough'))
    parser.add_argument('--iterations', type=int, default=200)
    parser.add_argument('--size', type=int, default=128, help='pixels of a scene (default: 128)')
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f'{args.out} exists: remove it, or choose another folder with --out')
    return args


def main() -> None:
    """Takes the steps in turn."""
    args = parse_args()
    data = args.out.resolve() / 'data'
    make_data(data, args.size)
    cfg = make_config(data, args.out, args.size, args.iterations)
    checkpoint = train(cfg)
    mean_iou = test(cfg, checkpoint)
    model = init_model(cfg, str(checkpoint), device='cpu')
    error = deploy(model, args.size)
    images = sorted((data / 'images/validation').glob('*.jpg'))[:4]
    draw(model, images, args.out / 'predictions.png')
    print(f'mIoU {mean_iou:.1f} %, deployed with a relative error of {error:.0e}, drawn in '
          f'{args.out / "predictions.png"}')


if __name__ == '__main__':
    main()
