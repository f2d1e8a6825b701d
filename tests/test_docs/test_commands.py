# Copyright (c) mmvisionmix authors. All rights reserved.
"""Commands of the pages: tools take their options, and what these name is there."""
import importlib.util
import io
import os
import re
import subprocess
import sys
from argparse import Namespace
from contextlib import redirect_stderr
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import click
import pytest
import timm
from mim.cli import cli as mim
from mmengine.config import Config
from mmengine.utils import get_installed_path
from networks import FAMILIES, VARIANTS
from page_commands import PAGES, ROOT, commands_of

from mmvisionmix import config_path

PROJECT = ROOT / 'projects/example_project'
COMMANDS = {page: commands_of(page) for page in PAGES}
SCRIPTS = {script.name: script.read_text() for script in (ROOT / 'tools').glob('*.sh')}
# Settings that a config does not have, and that what it builds takes.
ADDED = ('optim_wrapper.dtype', 'model.backbone.impl')
# Stands for Python and srun: answers dist_run.sh's question for a free port, and prints its words.
STAND_IN = '#!/bin/sh\n[ "$1" = -c ] || for word in "$@"; do echo "$word"; done\n'


class Reader:
    """Somebody who types the commands of one page."""

    def __init__(self, page, folder):
        self.home = PROJECT if PROJECT in (ROOT / page).parents else ROOT
        self.folder = folder
        text = (ROOT / page).read_text(encoding='utf-8')
        for name, code in re.findall(r'```python\n# (\w+\.py)\n(.*?)```', text, re.DOTALL):
            (folder / name).write_text(code)
        for name in ('python', 'srun'):
            (folder / name).write_text(STAND_IN)
            (folder / name).chmod(0o755)

    def path(self, name):
        """A file of the page, of the project or of the clone."""
        name = re.sub(r'^\.\./mmvisionmix/', '', name)
        found = [folder / name for folder in (self.folder, self.home, ROOT)
                 if (folder / name).exists()]
        assert found, f'there is no {name}'
        return found[0]

    def type(self, command):
        """Checks a command."""
        program, *args = command.words
        for variable in command.variables:
            name, _, value = variable.partition('=')
            assert any(re.search(rf'\b{name}\b', text) for text in SCRIPTS.values()), name
        if '...' in args:
            self.path(args[0])
        elif program in ('python', 'bash', 'mim', 'pip', 'cp', 'source', 'cd'):
            getattr(self, program)(*args)
        else:
            assert program == '--cfg-options', f'nobody knows {program}'
            self.options(self.path('configs/segmentor_by_expression.py'), args)

    def python(self, script, *args):
        if script == '-m':
            self.module(*args)
        elif script != '-c' and self.path(script).parent != self.folder:  # of the page itself
            self.tool(self.path(script), args)

    def module(self, name, *args):
        assert importlib.util.find_spec(name), name
        if name == 'mkdocs':
            from mkdocs.__main__ import cli
            cli.get_command(None, args[0]).make_context(args[0], list(args[1:]))
        elif name == 'pytest':
            self.tests(args)

    def tests(self, args):
        """Arguments of pytest."""
        for arg in args:
            if '/' in arg and arg != 'tests/test_ops/test_cross.py':  # which the page adds
                self.path(arg)

    def tool(self, script, args):
        """A Python tool, of ours or of a codebase."""
        parsed = parse(script, args)
        files = {re.split('[@=]', word)[0] for word in args if not word.startswith('--')}
        configs = [self.path(file) for file in sorted(files) if file.endswith('.py')]
        for config in configs:
            read(config)
        for network in getattr(parsed, 'networks', ()):
            check_network(network)
        for key in getattr(parsed, 'cfg_options', None) or ():
            check_key(read(configs[0]), key)

    def options(self, config, words):
        for word in words:
            check_key(read(config), word.partition('=')[0])

    def bash(self, script, *args):
        path = self.path(script)
        if path.name == 'run_tests.sh':
            if args[:1] == ('--stack', ):
                assert re.search(rf'(^ +|\|){args[1]}(\||\))', SCRIPTS['setup_env.sh'], re.M)
                args = args[2:]
            self.tests(args)
        elif path.name.startswith(('dist_', 'slurm_')):
            words = self.launched(path, args)
            tool = f'/{path.stem.rpartition("_")[2]}.py'
            start = next(i for i, word in enumerate(words) if word.endswith(tool))
            self.tool(Path(words[start]), words[start + 1:])
        else:
            assert not args, f'{script} takes no arguments'

    def launched(self, script, args):
        """The words that a launcher gives to torchrun or srun."""
        result = subprocess.run(
            ['bash', str(script), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, 'PATH': f'{self.folder}{os.pathsep}{os.environ["PATH"]}'})
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def mim(self, name, *args):
        context = mim.get_command(None, name).make_context(name, list(args))
        params, rest = context.params, list(context.params.get('other_args', ()))
        if name == 'search' and params['configs']:
            for config in params['configs']:
                config_path(config)
        elif name == 'run':
            script, = (ROOT / 'tools').rglob(f'{params["command"]}.py')
            self.tool(script, rest)
        elif name in ('train', 'test', 'gridsearch'):
            tool = 'test' if name == 'test' else 'train'
            if params['package'] == 'mmvisionmix':
                config, script = Path(config_path(params['config'])), ROOT / f'tools/{tool}.py'
            else:
                config = self.path(params['config'])
                script = Path(get_installed_path(params['package']), f'.mim/tools/{tool}.py')
            checkpoint = [params['checkpoint']] if name == 'test' else []
            self.tool(script, [str(config), *checkpoint, *rest])
            for key in re.findall(r'--(\S+)', params.get('search_args') or ''):
                check_key(read(config), key)

    def pip(self, verb, *args):
        assert verb in ('install', 'uninstall')
        for option, value in zip(args, args[1:]):
            if option in ('-c', '-r'):
                self.path(value)
        check_extras(args)

    def cp(self, *args):
        self.path(f'../{args[1]}')

    def source(self, path):
        assert path == '.venv/bin/activate' and '.venv' in SCRIPTS['setup_env.sh']

    def cd(self, folder):
        assert folder == PROJECT.name


def parse(script, args):
    """What a tool's own parser makes of arguments."""
    module = load(script)
    if not hasattr(module, 'parse_args'):
        assert not args, f'{script.name} takes no arguments'
        return Namespace()
    errors = io.StringIO()
    with patch.object(sys, 'argv', [str(script), *args]), patch.dict(os.environ):
        try:
            with redirect_stderr(errors):
                return module.parse_args()
        except SystemExit:
            raise AssertionError(errors.getvalue().splitlines()[-1]) from None


@lru_cache(maxsize=None)
def load(script):
    """A tool as a module."""
    if str(script.parent) in sys.path:  # as in other tests, since some register classes
        return importlib.import_module(script.stem)
    spec = importlib.util.spec_from_file_location(f'command_{script.stem}', script)
    module = importlib.util.module_from_spec(spec)
    with patch.object(sys, 'path', [str(script.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=None)
def read(config):
    return Config.fromfile(config)


def check_key(cfg, key):
    """That a setting is in a config."""
    node = cfg
    for part in key.split('.') if key not in ADDED else ():
        try:
            node = node[int(part) if isinstance(node, (list, tuple)) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise AssertionError(f'{cfg.filename} has no {key}') from None


def check_network(name):
    """That there is a network of that name, of ours or of timm's."""
    source, _, peer = name.partition(':')
    if peer:
        assert source == 'timm' and timm.is_model(peer), name
    elif '.py' not in name:
        rest, _, form = name.partition('@')
        family, _, arch = rest.partition('-')
        assert arch in FAMILIES[family].arch_settings and form in VARIANTS, name


def check_extras(words):
    """That the package has the extras that an installation asks for."""
    wanted = re.findall(r'\.\[([\w,]+)\]', ' '.join(words))
    known = {file.stem for file in (ROOT / 'requirements').glob('*.txt')}
    assert not {extra for extras in wanted for extra in extras.split(',')} - known - {'all', 'mim'}


@pytest.mark.parametrize('page', [page for page in PAGES if COMMANDS[page]])
def test_commands_of_a_page_are_taken_as_they_are_written(page, tmp_path, monkeypatch):
    reader = Reader(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    wrong = []
    for command in COMMANDS[page]:
        try:
            reader.type(command)
        except (AssertionError, FileNotFoundError, click.ClickException) as error:
            wrong.append(f'{command}\n    {error}')
    assert not wrong, '\n'.join(wrong)
