# Copyright (c) mmvisionmix authors. All rights reserved.
"""Work for two processes on one machine, joined by gloo."""
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, multiprocessing


def in_two_processes(work, *args):
    """Calls ``work(*args)`` in two processes of one group; returns what each of them returned.

    Each has its own copy of ``args``: what multiprocessing passes on by itself shares its memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.save((work, args), Path(folder, 'task'))
        multiprocessing.spawn(_join, (folder, ), nprocs=2)
        return [_load(Path(folder, f'result{rank}')) for rank in range(2)]


def _join(rank, folder):
    if sys.platform == 'linux':
        os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2,
        timeout=timedelta(minutes=2))
    work, args = _load(Path(folder, 'task'))
    torch.save(work(*args), Path(folder, f'result{rank}'))
    distributed.destroy_process_group()


def _load(file):
    return torch.load(file, weights_only=False)
