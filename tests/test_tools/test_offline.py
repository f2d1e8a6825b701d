# Copyright (c) mmvisionmix authors. All rights reserved.
"""Nothing asks the network for anything: importing, training and testing work without one."""
import os
import subprocess
import sys
from pathlib import Path

from test_train_and_test import ROOT, TEST, TOY, TRAIN, toy_options

# Python imports a module of this name before any other. Sockets of one machine (AF_UNIX) stay:
# torch's data workers use them.
GUARD = '''import socket

connect = socket.socket.connect


def refuse(*args, **kwargs):
    raise RuntimeError(f'the network was asked for {args}')


def connect_locally(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else refuse(address)


socket.socket.connect = socket.socket.connect_ex = connect_locally
socket.getaddrinfo = socket.gethostbyname = refuse
'''


def test_importing_training_and_testing_ask_the_network_for_nothing(
        run_tool, demo_ade20k, tmp_path, monkeypatch):
    (tmp_path / 'sitecustomize.py').write_text(GUARD)
    path = [str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, path)))
    code = 'import socket; socket.create_connection(("127.0.0.1", 1))'
    result = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    assert 'RuntimeError: the network was asked for' in result.stderr

    small = ['model.backbone.arch.num_layers=4', 'model.backbone.out_indices=[0,1,2,3]',
             'train_dataloader.num_workers=1', 'model.backbone.arch.embed_dims=128']
    options = [*toy_options(demo_ade20k, 2), *small]
    out = run_tool(TRAIN, TOY, '--work-dir', tmp_path / 'work', *options, cwd=tmp_path)
    assert 'Iter(train) [2/2]' in out and 'mIoU' in out
    checkpoint = Path((tmp_path / 'work/last_checkpoint').read_text())
    out = run_tool(TEST, TOY, checkpoint, '--work-dir', tmp_path / 'test', *options, cwd=tmp_path)
    assert 'mIoU' in out and 'the network was asked' not in out
