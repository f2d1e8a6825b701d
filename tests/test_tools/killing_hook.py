# Copyright (c) mmvisionmix authors. All rights reserved.
"""Ends the process that trains, by SIGKILL, at a moment that the environment names."""
import os
import signal
from itertools import count

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillingHook(Hook):
    """Reads ``KILL=MOMENT:NUMBER``.

    The moment is ``fetched`` or ``trained`` (and not saved yet) of an iteration, counted from 0;
    ``validating`` a batch, or ``writing`` a checkpoint, half of which is on the disk by then,
    counted from 0 within the process.
    """
    priority = 'VERY_HIGH'

    def __init__(self):
        moment, _, number = os.environ.get('KILL', '').partition(':')
        self.moment = (moment, int(number or 0))
        self.validated, written, fsync = count(), count(), os.fsync

        def fsync_or_die(descriptor):
            if self.moment == ('writing', next(written)):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                self.kill_at(*self.moment)
            fsync(descriptor)

        os.fsync = fsync_or_die

    def kill_at(self, *moment):
        if self.moment == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.kill_at('fetched', runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.kill_at('trained', runner.iter)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.kill_at('validating', next(self.validated))
