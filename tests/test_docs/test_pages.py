# Copyright (c) mmvisionmix authors. All rights reserved.
"""Links of the pages lead somewhere, and the tools' own parsers take the commands."""
import importlib.util
import re
import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / 'README.md', ROOT / 'CHANGELOG.md', *sorted(
    page for folder in ('docs', 'configs', 'projects', 'weights')
    for page in (ROOT / folder).rglob('*.md'))]
COMMAND = re.compile(r'(?:^ *(?:\$ )?|`)(?:\w+=\S+ )*python (?:\.\./mmvisionmix/)?'
                     r'((?:tools|docs|projects)/[\w/]+\.py\b[^`\n]*)', re.MULTILINE)
NUMBERS = {'N': '2', 'H': '64', 'W': '64', 'HxW': '64x64'}  # what stands for one of the reader's


class ParsedError(Exception):
    """Ends a tool that has parsed its command line."""


def commands_of(page):
    """The words of every command of a page that runs a tool of the repository."""
    text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
    text = re.sub(r'\n +(?=\[)', ' ', text)  # a summary of options that goes on
    variables = dict(re.findall(r'(?:^|for )(\w+)(?:=| in )([^\s"$;]+)', text, re.MULTILINE))
    text = re.sub(r'\$\{?(\w+)\}?', lambda match: variables.get(match[1], match[0]), text)
    for command in COMMAND.findall(text):
        words = shlex.split(re.sub(r'[][]|\.\.\.(?=[] ])', '', command), comments=True)
        yield [NUMBERS.get(word, word.split('|')[0]) for word in words]


COMMANDS = [pytest.param(page, words, id=f'{page.relative_to(ROOT)}: {" ".join(words)}')
            for page in PAGES for words in commands_of(page)]


def load(script):
    """A tool as a module, once, since some register classes."""
    known = sys.modules.get(script.stem)
    if known is not None and known.__file__ == str(script):
        return known
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = sys.modules[script.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(script, args, monkeypatch):
    """Runs a tool until its parser has taken the arguments."""
    if 'parse_args' not in script.read_text():
        assert not args, f'{script.name} takes no arguments'
        return
    take = ArgumentParser.parse_args

    def stop(parser, *given):
        take(parser, *given)
        raise ParsedError

    monkeypatch.setattr(ArgumentParser, 'parse_args', stop)
    monkeypatch.setattr(sys, 'argv', [str(script), *args])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(ParsedError):
        load(script).main()


def find_config(page, name):
    """The file of a config, or None for one of the reader's, or that the page itself gives."""
    text = page.read_text(encoding='utf-8')
    if name.split('.')[0].isupper() or re.search(rf'^# {re.escape(name)}$', text, re.MULTILINE):
        return None
    found = [folder / name for folder in (ROOT, page.parent) if (folder / name).is_file()]
    assert found, f'there is no {name}'
    return found[0]


def text_of(page):
    """The text of a page without its blocks of code."""
    text = page.read_text(encoding='utf-8')
    return re.sub(r'^( *)```.*?^\1```$', '', text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """The anchors of a page's headings, as repository pages have them."""
    headings = re.findall(r'^#+ (.*)$', text_of(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


every_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_relative_links_lead_to_a_file_and_to_a_heading(page):
    broken = []
    for link in re.findall(r'\]\((?![a-z]+:)([^)\s]+)\)', text_of(page)):
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


@every_page
def test_files_of_the_repository_that_pages_name_exist(page):
    text = page.read_text(encoding='utf-8')
    folders = 'tools|configs|docs|requirements|projects|weights'
    named = re.findall(rf'(?<![\w/.:])((?:{folders})/[\w./-]+\.\w+)', text)
    assert not [path for path in named
                if not any((folder / path).exists() for folder in (ROOT, page.parent))]


@pytest.mark.parametrize('page, words', COMMANDS)
def test_tool_takes_a_command_and_its_configs_are_there(page, words, monkeypatch):
    script, *args = words
    parse(ROOT / script, args, monkeypatch)
    names = [re.split('[@=]', word)[0] for word in args if not re.match(r'-|\w+\.\w.*=', word)]
    configs = [find_config(page, name) for name in names if name.endswith('.py')]
    keys = [word.partition('=')[0] for word in args if re.match(r'\w+(\.\w+)+=', word)]
    if configs and configs[0] and 'mmpose::' in configs[0].read_text(encoding='utf-8'):
        pytest.importorskip('mmpose', reason='an extra: projects/pose says how to install it')
    cfg = Config.fromfile(configs[0]) if keys and configs and configs[0] else None
    for key in keys if cfg else ():
        node = cfg
        for part in key.split('.')[:-1]:  # the last may be an option that the config leaves out
            node = node[int(part) if isinstance(node, (list, tuple)) else part]
