# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small files of checkpoints, for others."""
import hashlib
import subprocess
import sys

import numpy as np
import publish
import pytest
import torch


def write(path, **weights):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    optimizer = torch.optim.AdamW(model.parameters())
    torch.save(dict(
        state_dict={**model.state_dict(), **weights}, optimizer=optimizer.state_dict(),
        meta=dict(seed=0, cfg='path = "/home/me"', dataset_meta=dict(
            classes=('a', 'b'), sigmas=np.ones(2)))), path)
    return model


def test_what_is_published_is_small_and_needs_nothing_but_torch(tmp_path, capsys):
    model, out = write(tmp_path / 'a.pth'), tmp_path / 'new/b.pth'
    publish.main([str(tmp_path / 'a.pth'), str(out)])
    assert hashlib.sha256(out.read_bytes()).hexdigest() in capsys.readouterr().out
    code = f'import torch; print(torch.load({str(out)!r}, weights_only=True)["meta"])'
    told = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True).stdout
    assert told == "{'dataset_meta': {'classes': ('a', 'b')}}\n"
    state = torch.load(out, weights_only=True)['state_dict']
    kinds = {str(value.dtype) for value in state.values()}
    assert kinds == {'torch.float16', 'torch.float32', 'torch.int64'}
    model.load_state_dict(state)
    assert torch.equal(model[0].weight, state['0.weight'].float())
    with pytest.raises(SystemExit, match='b.pth exists'):
        publish.main([str(tmp_path / 'a.pth'), str(out)])


def test_weights_beyond_half_precision_are_named_and_nothing_is_written(tmp_path):
    write(tmp_path / 'a.pth', head=torch.full((2, 2), 1e5))
    with pytest.raises(SystemExit, match=r'head holds values up to 1e\+05, beyond half precision'):
        publish.main([str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth')])
    torch.save({}, tmp_path / 'c.pth')
    with pytest.raises(SystemExit, match='c.pth holds no state_dict'):
        publish.main([str(tmp_path / 'c.pth'), str(tmp_path / 'b.pth')])
    assert not (tmp_path / 'b.pth').exists()
