# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
from toy_runs import KillAt, KilledError, load, same_training
from toy_runs import train as train_toy

CHECKPOINT = dict(type='CheckpointHook', interval=1)  # MMEngine's: the hooks do without each other


def final(folder, by_epoch):
    return load(folder / ('epoch_3.pth' if by_epoch else 'iter_12.pth'))


def train(folder, **kwargs):
    train_toy(folder, CHECKPOINT, length=12, **kwargs)


def interrupt_and_resume(folder, iteration, seed=1, **kwargs):
    with pytest.raises(KilledError):
        train(folder, hooks=[KillAt(iteration)], seed=seed, **kwargs)
    train(folder, resume=True, seed=seed, **kwargs)


@pytest.mark.parametrize('workers', (0, 2))
@pytest.mark.parametrize('by_epoch', (False, True), ids=('iterations', 'epochs'))
def test_a_resumed_run_ends_bit_equal_to_an_uninterrupted_one(tmp_path, by_epoch, workers):
    kwargs = dict(by_epoch=by_epoch, workers=workers)
    train(tmp_path / 'whole', **kwargs)
    interrupt_and_resume(tmp_path / 'cut', 9, **kwargs)
    assert same_training(final(tmp_path / 'whole', by_epoch), final(tmp_path / 'cut', by_epoch))


@pytest.mark.parametrize('by_epoch', (False, True), ids=('iterations', 'epochs'))
def test_without_the_hook_it_ends_elsewhere(tmp_path, by_epoch):
    """What the test above would miss, did the toy not draw random numbers."""
    kwargs = dict(by_epoch=by_epoch, reseed=False)
    train(tmp_path / 'whole', **kwargs)
    interrupt_and_resume(tmp_path / 'cut', 9, **kwargs)
    assert not same_training(
        final(tmp_path / 'whole', by_epoch), final(tmp_path / 'cut', by_epoch))


def test_validation_leaves_no_trace_in_training(tmp_path):
    for folder, interval in (('often', 2), ('seldom', 5)):
        train(tmp_path / folder, val_interval=interval)
    assert same_training(final(tmp_path / 'often', False), final(tmp_path / 'seldom', False))


@pytest.mark.parametrize('workers', (0, 2))
@pytest.mark.parametrize('by_epoch', (False, True), ids=('iterations', 'epochs'))
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
