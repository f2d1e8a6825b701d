# Copyright (c) mmvisionmix authors. All rights reserved.
"""torch loads MMEngine's checkpoints without running code that is in them."""
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint

from mmvisionmix import _compat

checked = pytest.mark.skipif(
    not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'),
    reason='torch before 2.6 trusts every file')


class Pickled:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def checkpoint():
    """What MMEngine's runner writes, but for the weights of a network."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    return dict(
        meta=dict(epoch=1, iter=2, seed=0, dataset_meta=dict(classes=('a', 'b'))),
        state_dict=dict(weight=parameter.detach()),
        message_hub=dict(
            log_scalars={'train/loss': HistoryBuffer([0.5, 0.25], [1, 1])},
            runtime_info=dict(iter=2, score=np.float64(0.5)), resumed_keys={'train/loss': True}),
        optimizer=optimizer.state_dict(), param_schedulers=[dict(last_step=2)])


def test_checkpoints_load_with_their_logs(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    load_checkpoint(torch.nn.Module(), str(tmp_path / 'epoch_1.pth'))
    loaded = torch.load(tmp_path / 'epoch_1.pth')
    log = loaded['message_hub']['log_scalars']['train/loss']
    assert log.mean() == 0.375 and log.statistics('current') == 0.25
    assert loaded['message_hub']['runtime_info']['score'] == 0.5
    assert torch.equal(loaded['state_dict']['weight'], checkpoint['state_dict']['weight'])


@checked
@pytest.mark.parametrize('function, args, message', (
    (os.mkdir, ('was_here', ), 'mkdir'), (getattr, (HistoryBuffer, '__init__'), 'not to __init__'),
    (getattr, (HistoryBuffer, 'register_statistics'), 'not to register_statistics'),
    (getattr, (np.ndarray, 'min'), 'not to min of')))
def test_code_in_a_checkpoint_is_refused_and_not_run(
        function, args, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint['meta']['hooks'] = Pickled(function, *args)
    torch.save(checkpoint, 'epoch_1.pth')
    with pytest.raises(pickle.UnpicklingError, match=message):
        torch.load('epoch_1.pth')
    assert not os.path.exists('was_here')


def test_statistics_are_all_that_a_log_refers_to():
    assert set(HistoryBuffer([1.], [1])._statistics_methods) == set(_compat.STATISTICS)
