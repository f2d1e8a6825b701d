# Copyright (c) mmvisionmix authors. All rights reserved.
"""Runs scripts as a user would, but in processes that have imported the codebases before."""
import os
import runpy
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

CONTEXT = get_context('forkserver')
# Not this package, which stock tools do not import.
CONTEXT.set_forkserver_preload(['mmpretrain.apis', 'mmseg.apis', 'mmdet.apis'])


def run_tool(script, *args, cwd, fails=False):
    """Runs a Python script; returns its output, or what it failed with."""
    with tempfile.NamedTemporaryFile('r') as log:
        process = CONTEXT.Process(
            target=run, args=(str(script), [*map(str, args)], cwd, log.name))
        process.start()
        process.join(600)
        out = log.read()
    assert (process.exitcode != 0) == fails, out[-4000:]
    return out


def run(script, args, folder, log):
    """Runs a script in this process, which then ends."""
    with open(log, 'w') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.argv = [script, *args]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name='__main__')
