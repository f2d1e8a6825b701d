# Copyright (c) mmvisionmix authors. All rights reserved.
"""The commands that pages give, as the words that a shell makes of them."""
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (
    ROOT / 'README.md', ROOT / 'CHANGELOG.md', *ROOT.glob('docs/**/*.md'),
    *ROOT.glob('configs/*/README.md'), *ROOT.glob('projects/*/README.md')))
# What stands for something of the reader's, and something of that kind.
PLACEHOLDERS = {
    'CONFIG': 'configs/upernet_lkca_s_ade20k.py',
    'CONFIG.py': 'upernet_lkca_s_ade20k.py',
    'YOUR_CIFAR10_CONFIG.py': 'configs/lkca_b_cifar10.py',
    'NETWORK...': 'lkca-s',
    'KEY=VALUE': 'env_cfg.cudnn_benchmark=True',
    'GPUS': '2', 'N': '2', 'H': '64', 'W': '64', 'HxW': '64x64',
}
# A shell in which no program is found. What would be run is written down instead: the variables
# set for it, then its words. Only `$(python -c ...)` is run, as words depend on it.
SHELL = r'''
set -eu
known=$(compgen -e)
log() {
    local name set=
    for name in $(compgen -e); do
        [[ $'\n'"$known"$'\n' == *$'\n'"$name"$'\n'* ]] || set+=" $name=${!name}"
    done
    printf '%s\x1f' "$set" "$@" >&3
    printf '\x1e' >&3
}
command_not_found_handle() { log "$@"; }
python() {
    log python "$@"
    if ((BASH_SUBSHELL)); then "$PYTHON" "$@"; fi
}
bash() { log bash "$@"; }
source() { log source "$@"; }
cd() { log cd "$@"; }
exec 3>&1 1>&2
'''


class Command(NamedTuple):
    """One command of a page."""
    page: str
    words: Tuple[str, ...]
    variables: Tuple[str, ...]  # NAME=VALUE, set for it alone

    def __str__(self) -> str:
        return f'{self.page}: {" ".join((*self.variables, *self.words))}'


def commands_of(page: str) -> List[Command]:
    """All commands of a page: of its blocks of bash, after prompts, and of tools in its text."""
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = re.findall(r'^( *)```(\w*)\n(.*?)^\1```$', text, re.DOTALL | re.MULTILINE)
    script = [block for _, language, block in blocks if language == 'bash']
    for _, language, block in blocks:
        if language == '':
            script += re.findall(r'^\$ ((?:.*\\\n)*.*)$', block, re.MULTILINE)
    script += re.findall(r'`((?:\w+=\S+ )*(?:python|bash) (?:-m |\S*(?:tools|docs)/|\$\()[^`]*)`',
                         text)
    return expand(page, '\n'.join(map(write_out, script)))


def write_out(block: str) -> str:
    """Makes commands of summaries of options in brackets: one for each option and choice."""
    block = re.sub(r'\n +(?=\[)', ' ', block)
    lines = (choices for line in block.splitlines() for choices in choices_of(line))
    return '\n'.join(lines)


def choices_of(line: str) -> Iterator[str]:
    """The commands that a line stands for."""
    if not re.search(r'(^|\s)\[', line):
        yield line
        return
    line = re.sub(r'\s#.*', '', line)
    groups = re.findall(r'(?<=\s)\[((?:[^][]|\[[^]]*\])*)\]', line)
    plain = line[:line.index(' [')]
    for group in ['', *(group for group in groups if not group.startswith('options of '))]:
        words = [word.strip('[]').split('|') for word in group.split() if word != '...']
        for choice in itertools.product(*words):
            yield ' '.join((plain, *choice))


def expand(page: str, script: str) -> List[Command]:
    """Runs a script in the shell without programs."""
    environment = {'PATH': '/nowhere', 'PYTHON': sys.executable, 'HOME': '/nowhere',
                   'PYTHONPATH': os.environ.get('PYTHONPATH', '')}
    result = subprocess.run(
        [shutil.which('bash'), '--norc', '-c', SHELL + script], cwd=ROOT / 'docs/images',
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 0, f'{page}: {result.stderr}'
    commands = []
    for entry in result.stdout.split('\x1e')[:-1]:
        variables, *words = entry.split('\x1f')[:-1]
        words = [PLACEHOLDERS.get(word, word) for word in words]
        commands.append(Command(page, tuple(words), tuple(variables.split())))
    return commands
