# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
from toy_runs import KillAt, KilledError, assert_bit_equal, trained
from toy_runs import train as train_toy

CHECKPOINT = dict(type='CheckpointHook', interval=1)  # MMEngine's: the hooks do without each other
both = pytest.mark.parametrize('by_epoch', (False, True), ids=('iterations', 'epochs'))


def train(folder, **kwargs):
    train_toy(folder, CHECKPOINT, length=12, **kwargs)


def whole_and_interrupted(folder, by_epoch, **kwargs):
    """What a run ends with, and what it ends with when it was killed and resumed."""
    kwargs.update(by_epoch=by_epoch)
    train(folder / 'whole', **kwargs)
    with pytest.raises(KilledError):
        train(folder / 'cut', hooks=[KillAt(9)], **kwargs)
    train(folder / 'cut', resume=True, **kwargs)
    name = 'epoch_3.pth' if by_epoch else 'iter_12.pth'
    return trained(folder / 'whole' / name), trained(folder / 'cut' / name)


@pytest.mark.parametrize('workers', (0, 2))
@both
def test_a_resumed_run_ends_bit_equal_to_an_uninterrupted_one(tmp_path, by_epoch, workers):
    assert_bit_equal(*whole_and_interrupted(tmp_path, by_epoch, workers=workers))


@both
def test_without_the_hook_it_ends_elsewhere(tmp_path, by_epoch):
    """What the test above would miss, did the toy not draw random numbers."""
    with pytest.raises(AssertionError, match='not equal'):
        assert_bit_equal(*whole_and_interrupted(tmp_path, by_epoch, reseed=False))


def test_validation_leaves_no_trace_in_training(tmp_path):
    for folder, interval in (('often', 2), ('seldom', 5)):
        train(tmp_path / folder, val_interval=interval)
    assert_bit_equal(*(trained(tmp_path / folder / 'iter_12.pth') for folder in (
        'often', 'seldom')))


@pytest.mark.parametrize('workers', (0, 2))
@both
def test_no_iteration_and_no_seed_repeats_the_numbers_of_another(tmp_path, by_epoch, workers):
    """In epochs, MMEngine's own seeding does, where workers do not persist."""
    drawn = []

    class Watch(KillAt):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            drawn.extend(data_batch['x'][:, :3].flatten().tolist())

    for seed in (1, 4):  # MMEngine gives its workers the seeds 1, 2, ...
        train(tmp_path / str(seed), by_epoch=by_epoch, workers=workers, hooks=[Watch(None)],
              seed=seed)
    assert len(set(drawn)) == len(drawn) == 2 * 12 * 2 * 3
