# Copyright (c) mmvisionmix authors. All rights reserved.
"""Our code runs nothing that files of others hold, and no shell."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ('mmvisionmix', 'tools', 'projects', 'configs', 'setup.py')
FILES = sorted(file for room in ROOMS for file in [ROOT / room, *(ROOT / room).rglob('*.py')]
               if file.suffix == '.py' and '.mim' not in file.parts)
BUILTINS = {'eval', 'exec', 'compile'}
UNPICKLERS = {'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
LOADING = {'load', 'loads', 'Unpickler', 'open', 'read_pickle'}
SHELLS = {'os.system', 'os.popen', 'subprocess.getoutput', 'subprocess.getstatusoutput',
          'commands.getoutput', 'pty.spawn'}
SAFE_YAML = {'SafeLoader', 'CSafeLoader', 'BaseLoader', 'CBaseLoader'}


def dangers(source):
    """Line and reason of whatever could run code that is not ours."""
    tree = ast.parse(source)
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            reason = danger_of(full_name(node.func, names), node, names)
            if reason:
                yield node.lineno, reason


def imported_names(tree):
    """What names in a file stand for: ``{'th': 'torch', 'load': 'torch.load'}``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({alias.asname or alias.name: f'{node.module}.{alias.name}'
                          for alias in node.names})
    return names


def full_name(node, names):
    """``torch.load`` of a call, whatever it was imported as; empty if it has no such name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, names)
        return owner and f'{owner}.{node.attr}'
    return ''


def danger_of(name, call, names):
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    module, _, last = name.rpartition('.')
    if name in BUILTINS or (module == 'builtins' and last in BUILTINS):
        return f'{last}()'
    if name in SHELLS or ('shell' in options and not is_constant(options['shell'], False)):
        return 'a shell'
    if module.partition('.')[0] in UNPICKLERS and last in LOADING:
        return f'{name} runs what the file says'
    if last in ('read_pickle', ) or (
            name == 'numpy.load' and not is_constant(options.get('allow_pickle'), None)):
        return f'{name} with pickles'
    if name == 'torch.load' and not is_constant(options.get('weights_only'), True):
        return 'torch.load without weights_only=True'
    if module == 'yaml' and last.startswith(('load', 'full_load', 'unsafe_load')):
        loader = options.get('Loader') or (call.args[1] if len(call.args) > 1 else None)
        if full_name(loader, names).rpartition('.')[2] not in SAFE_YAML:
            return f'{name} without a safe loader'
    return None


def is_constant(node, value):
    """Whether an argument is that constant; one that is not given is None."""
    return (value is None if node is None else
            isinstance(node, ast.Constant) and node.value is value)


@pytest.mark.parametrize('room', ROOMS)
def test_nothing_of_ours_runs_code_from_files_or_a_shell(room):
    files = [file for file in FILES if file.relative_to(ROOT).parts[0] == room]
    assert files
    found = [f'{file}:{line}: {reason}' for file in files
             for line, reason in dangers(file.read_text(encoding='utf-8'))]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize('source', (
    'eval("1")', 'exec(code)', 'compile(text, "f", "exec")', 'import builtins; builtins.eval("1")',
    'import os; os.system("ls")', 'from os import system as run; run("ls")',
    'import subprocess; subprocess.run("ls", shell=True)',
    'import subprocess as s; s.Popen("ls", shell=flag)', 'import os; os.popen("ls")',
    'import pickle; pickle.load(file)', 'from pickle import loads; loads(text)',
    'import pickle; pickle.Unpickler(file).load()', 'import joblib; joblib.load("f")',
    'import dill as d; d.loads(text)', 'import pandas as pd; pd.read_pickle("f")',
    'import torch; torch.load("f")', 'from torch import load as l; l("f", weights_only=False)',
    'import torch; torch.load("f", weights_only=flag)',
    'import numpy as np; np.load("f", allow_pickle=True)',
    'import yaml; yaml.load(f)', 'import yaml; yaml.load(f, Loader=yaml.Loader)',
    'import yaml; yaml.unsafe_load(f)', 'import yaml; yaml.load(f, yaml.FullLoader)'))
def test_what_is_looked_for_is_found(source):
    assert list(dangers(source))


@pytest.mark.parametrize('source', (
    'model.eval()', 'import re; re.compile("a")', 'import torch; torch.compile(model)',
    'import torch; torch.load("f", weights_only=True)', 'import yaml; yaml.safe_load(f)',
    'import yaml; yaml.load(f, Loader=yaml.SafeLoader)', 'import pickle; pickle.dumps(1)',
    'import subprocess; subprocess.run(["ls"], shell=False)', 'import numpy as np; np.load("f")'))
def test_what_is_harmless_is_left_alone(source):
    assert not list(dangers(source))
