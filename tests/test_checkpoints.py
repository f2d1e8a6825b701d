# Copyright (c) mmvisionmix authors. All rights reserved.
"""torch loads MMEngine's checkpoints without running code that is in them."""
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvisionmix import _checkpoints

checked = pytest.mark.skipif(
    not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'),
    reason='torch before 2.6 trusts every file')


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file), )


class Disguised:
    """Asks for an attribute that no checkpoint of MMEngine asks for."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


@pytest.fixture
def checkpoint():
    """What MMEngine's runner writes, but for the weights of a network."""
    log = HistoryBuffer([0.5, 0.25], [1, 1])
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    return dict(
        meta=dict(epoch=1, iter=2, seed=0, dataset_meta=dict(classes=('a', 'b'))),
        state_dict=dict(weight=parameter.detach()),
        message_hub=dict(
            log_scalars={'train/loss': log}, runtime_info=dict(iter=2, score=np.float64(0.5)),
            resumed_keys={'train/loss': True}),
        optimizer=optimizer.state_dict(), param_schedulers=[dict(last_step=2)])


def test_checkpoints_load_with_their_logs(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    loaded = torch.load(tmp_path / 'epoch_1.pth')
    log = loaded['message_hub']['log_scalars']['train/loss']
    assert log.mean() == 0.375 and log.statistics('current') == 0.25
    assert loaded['message_hub']['runtime_info']['score'] == 0.5
    assert torch.equal(loaded['state_dict']['weight'], checkpoint['state_dict']['weight'])


@checked
def test_code_in_a_checkpoint_is_refused_and_not_run(checkpoint, tmp_path):
    checkpoint['meta']['hooks'] = Malicious(tmp_path / 'was_here')
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    with pytest.raises(pickle.UnpicklingError, match='mkdir'):
        torch.load(tmp_path / 'epoch_1.pth')
    assert not (tmp_path / 'was_here').exists()


@checked
@pytest.mark.parametrize('owner, name', (
    (HistoryBuffer, '__init__'), (HistoryBuffer, 'register_statistics'), (np.ndarray, 'min')))
def test_attributes_other_than_statistics_are_refused(owner, name, checkpoint, tmp_path):
    checkpoint['meta']['hooks'] = Disguised(owner, name)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    with pytest.raises(pickle.UnpicklingError, match=f'may refer to .* not to {name} of'):
        torch.load(tmp_path / 'epoch_1.pth')


def test_statistics_are_all_that_a_log_refers_to():
    assert set(HistoryBuffer([1.], [1])._statistics_methods) == set(_checkpoints.STATISTICS)
    for name in _checkpoints.STATISTICS:
        assert _checkpoints._get_statistic(HistoryBuffer, name) is getattr(HistoryBuffer, name)
    for owner, name in ((HistoryBuffer, 'update'), (dict, 'get')):
        with pytest.raises(pickle.UnpicklingError, match=name):
            _checkpoints._get_statistic(owner, name)
