# Copyright (c) mmvisionmix authors. All rights reserved.
"""What FullyShardedDataParallel lacks on CPUs with torch 2.1, and has with later versions.

It asks for streams, which CPUs do not have, and for two collective operations that gloo did not.
What stands in for them gives the same values; all else is torch's own.
"""
import torch
from torch import distributed


class Stream:

    def __init__(self, priority=0):
        pass

    def wait_stream(self, stream):
        pass

    def synchronize(self):
        pass


class Event:

    def record(self):
        pass

    def synchronize(self):
        pass


def all_gather_into_tensor(output, tensor, group=None, async_op=False):
    parts = output.view(distributed.get_world_size(group), *tensor.shape)
    return distributed.all_gather(list(parts.unbind()), tensor, group, async_op)


def reduce_scatter_tensor(output, tensor, op=distributed.ReduceOp.SUM, group=None):
    total = tensor.clone()
    distributed.all_reduce(total, op, group)
    parts = total.view(distributed.get_world_size(group), *output.shape)
    output.copy_(parts[distributed.get_rank(group)])


def stand_in():
    """Provides what is missing, in this process."""
    if torch.__version__ < '2.2':
        torch.cpu.Stream, torch.cpu.Event = Stream, Event
        torch.cpu.current_stream = Stream
        distributed.all_gather_into_tensor = all_gather_into_tensor
        distributed.reduce_scatter_tensor = reduce_scatter_tensor
