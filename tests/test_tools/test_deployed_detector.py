# Copyright (c) mmvisionmix authors. All rights reserved.
"""A detector that was trained, and then reparameterised, finds the same boxes."""
import pickle
from pathlib import Path

from demo_data import SceneRecipe, write_coco

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/retinanet_linglo_b0_coco.py'


def test_trained_detector_keeps_its_boxes(run_tool, tmp_path):
    data = tmp_path / 'data'
    write_coco(data, SceneRecipe(size=128, train=8, val=4))
    options = ['model.test_cfg.score_thr=0.', 'train_cfg.max_epochs=1']
    for split, step in (('train', 2), ('val', 1), ('test', 1)):
        options += [f'{split}_dataloader.num_workers=0',
                    f'{split}_dataloader.persistent_workers=False',
                    f'{split}_dataloader.dataset.data_root={data}',
                    f'{split}_dataloader.dataset.pipeline.{step}.scale="(64,64)"']
    options += [f'{split}_evaluator.ann_file={data}/annotations/instances_val2017.json'
                for split in ('val', 'test')]
    options = ['--cfg-options', *options]
    run_tool(ROOT / 'tools/train.py', CONFIG, '--work-dir', 'work', *options, cwd=tmp_path)
    out = run_tool(
        ROOT / 'tools/model_converters/reparameterize.py', CONFIG, 'work/epoch_1.pth',
        'deployed.pth', cwd=tmp_path)
    assert 'backbone: LinGlo, relative error' in out
    predictions = []
    for checkpoint, flags in (('work/epoch_1.pth', []), ('deployed.pth', ['--deploy'])):
        run_tool(
            ROOT / 'tools/test.py', CONFIG, checkpoint, '--work-dir', 'work', '--out',
            'boxes.pkl', *flags, *options, cwd=tmp_path)
        predictions.append(pickle.loads((tmp_path / 'boxes.pkl').read_bytes()))
    assert len(predictions[0]) == 4
    for before, after in zip(*predictions):
        assert_same_boxes(before['pred_instances'], after['pred_instances'])


def assert_same_boxes(before, after):
    """The better half is found again; scores that all but tie may change places at the end."""
    half = len(before['scores']) // 2
    assert half > 0
    for label, box, score in zip(*(before[key][:half] for key in ('labels', 'bboxes', 'scores'))):
        error = (after['bboxes'] - box).abs().amax(1) + 1e3 * (after['scores'] - score).abs()
        assert error[after['labels'] == label].min() < 0.01
