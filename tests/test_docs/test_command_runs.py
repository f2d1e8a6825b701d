# Copyright (c) mmvisionmix authors. All rights reserved.
"""Who runs the commands of the pages, at a small size; and those that nobody else runs."""
import json
import os
import re
import socket
import subprocess
import sys

import benchmark
import digits_study
import export
import onnx
import paper_tables
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from page_commands import PAGES, ROOT, commands_of
from PIL import Image

from demo_data import svhn

HERE = 'tests/test_docs/test_command_runs.py'
MIM = ['tests/test_tools/test_mim.py', 'tests/test_projects.py']
BENCHMARKS = ['tests/test_tools/test_benchmarks.py', HERE]
PANELS = ['tests/test_tools/test_mixer_and_feature_panels.py']
STEPS = ['tests/test_docs/test_first_steps.py']
# By what a command starts with: the tests and scripts that run it, with every option that it has.
RUN_BY = {
    'bash tools/dist_test.sh': ['tests/test_tools/test_launchers.py'],
    'bash tools/dist_train.sh': ['tests/test_tools/test_launchers.py',
                                 'tests/test_tools/test_fine_tuning.py', HERE],
    'bash tools/quickstart.sh': [HERE],
    'bash tools/run_tests.sh': ['.ci/run', HERE],
    'bash tools/setup_env.sh': ['tools/run_tests.sh'],
    'bash tools/slurm_test.sh': ['tests/test_tools/test_launchers.py'],
    'bash tools/slurm_train.sh': ['tests/test_tools/test_launchers.py'],
    'mim gridsearch': MIM, 'mim install': [HERE], 'mim list': MIM, 'mim run': MIM,
    'mim search': MIM, 'mim test': MIM, 'mim train': MIM,
    'pip install': [HERE],
    'python -m mkdocs': ['tests/test_docs/test_site.py'],
    'python -m mypy': ['tools/run_tests.sh'],
    'python -m pytest': ['tests/test_docs/test_worked_example.py', 'tools/run_tests.sh'],
    'python -m ruff': ['tools/run_tests.sh'],
    'python docs/walkthrough.py': ['tests/test_docs/test_walkthrough.py'],
    'python run_onnx.py': STEPS, 'python segment.py': STEPS,
    'python tools/analysis_tools/benchmark.py': BENCHMARKS,
    'python tools/analysis_tools/benchmark_attention.py': BENCHMARKS,
    'python tools/analysis_tools/benchmark_key_only.py': BENCHMARKS,
    'python tools/analysis_tools/benchmark_ops.py': BENCHMARKS,
    'python tools/analysis_tools/digits_study.py': ['tests/test_tools/test_digits_study.py', HERE],
    'python tools/analysis_tools/get_flops.py': ['tests/test_tools/test_get_flops.py'],
    'python tools/analysis_tools/learning_curves.py': ['tests/test_tools/test_learning_curves.py'],
    'python tools/analysis_tools/paper_tables.py': ['tests/test_tools/test_paper_tables.py', HERE],
    'python tools/analysis_tools/plot_attention_cost.py': BENCHMARKS,
    'python tools/analysis_tools/profile_networks.py': BENCHMARKS,
    'python tools/check_env.py': [HERE],
    'python tools/dataset_tools/check_data.py': ['tests/test_tools/test_check_data.py'],
    'python tools/dataset_tools/make_demo_data.py': ['tests/test_tools/test_make_demo_data.py'],
    'python tools/install_mmcv.py': [HERE],
    'python tools/model_converters/export.py': ['tests/test_tools/test_export.py', HERE],
    'python tools/model_converters/reparameterize.py': [
        'tests/test_tools/test_reparameterize.py'],
    'python tools/test.py': [
        'tests/test_tools/test_stock_tools.py', 'tests/test_tools/test_reparameterize.py', HERE],
    'python tools/train.py': [
        'tests/test_tools/test_train_and_test.py', 'tests/test_tools/test_fine_tuning.py',
        'tests/test_tools/test_launchers.py', 'tests/test_datasets/test_bad_data.py', HERE],
    'python tools/visualization/feature_panels.py': PANELS,
    'python tools/visualization/mixer_panels.py': PANELS,
    'python .mim/tools/test.py': ['tests/test_tools/test_stock_tools.py'],
    'python .mim/tools/train.py': ['tests/test_tools/test_stock_tools.py'],
    'python -c': ['tests/test_docs/page_commands.py', HERE],  # in $(...), and with publish_model.py
    'source': ['tools/setup_env.sh'],  # makes the environment, and says so
    'cp': ['tests/test_projects.py'], 'cd': ['tests/test_projects.py'],
    '--cfg-options': ['tests/test_projects.py'],  # words to add to commands
}
# Run word by word, below or in the test that the table names.
AS_WRITTEN = ('pip install', 'mim install', 'source', 'cp', 'cd', 'python run_onnx.py',
              'python segment.py')
# What is not run as it is written, but refused, asked for by a stand-in, or run on a CPU.
NOT_RUN = {
    '--amp, bfloat16 by --cfg-options': 'needs a GPU; the refusal is tested, and the config',
    '--device cuda, --compile reduce-overhead': 'need a GPU',
    '--launcher slurm, --launcher mpi': 'need GPUs; the refusals are tested',
    'bash tools/slurm_train.sh and slurm_test.sh': 'need Slurm; a stand-in for srun gets the words',
    'STACK=modern bash tools/setup_env.sh': 'compiles mmcv; classic and lite are made by .ci/run',
    'paths of real data, work_dirs/... and numbers of epochs': 'are replaced by small ones',
}

COMMANDS = [command for page in PAGES for command in commands_of(page)]
PARTS = ('LICENSE', 'MANIFEST.in', 'README.md', 'setup.py', 'model-index.yml', 'mypy.ini',
         'ruff.toml', 'pytest.ini', 'requirements', 'configs', 'tools', 'mmvisionmix')
TOY = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
SMALL = '''
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.LKCAViT', arch=dict(embed_dims=8, num_layers=2, mlp_ratio=2),
        img_size=16, patch_size=8, out_indices=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=8))
'''
# A Python for scripts that look for an environment: complete, whatever check_env.py would say, and
# the running one for the rest.
PYTHON = """#!/bin/sh
case "$1" in
    */check_env.py) exit 0 ;;
    -m) [ -z "$WORDS" ] || { echo "python $*"; exit 0; } ;;
esac
exec %s "$@"
"""


def start_of(command):
    """What a command starts with, as in ``RUN_BY``."""
    program, *args = command.words
    if program in ('source', 'cp', 'cd', '--cfg-options'):
        return program
    words = [program, *args[:2 if args[0] == '-m' else 1]]
    return re.sub(r' \S*/(\.mim|mmvisionmix)/tools', lambda m: (
        ' .mim/tools' if m[1] == '.mim' else ' tools'), ' '.join(words))


def text_of(file):
    """A test or script, without the tables above."""
    text = (ROOT / file).read_text(encoding='utf-8')
    return text.partition('\nCOMMANDS = ')[2] if file == HERE else text


def test_every_command_is_run_with_all_its_options():
    """By a test or script whose text has them."""
    not_run = ' '.join(NOT_RUN)
    missing = []
    for command in COMMANDS:
        start = start_of(command)
        assert start in RUN_BY, f'say in RUN_BY what runs: {command}'
        text = not_run + ''.join(map(text_of, RUN_BY[start]))
        if start in AS_WRITTEN:
            continue
        options = [word for word in command.words[1:] if re.match(r'--?[a-z][\w-]*$', word)]
        missing += [f'{option} in {RUN_BY[start]}, for: {command}' for option in options
                    if not re.search(rf'(?<![\w-]){option}(?![\w-])', text)]
    assert not missing, '\n'.join(missing)


def test_table_of_runs_has_no_command_that_is_gone():
    assert set(RUN_BY) == set(map(start_of, COMMANDS))
    for start, files in RUN_BY.items():
        name = re.sub(r'\.\w+$', '', start.split()[-1].split('/')[-1])
        assert start in AS_WRITTEN or any(name in text_of(file) for file in files), start


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    """A copy of the clone, in which commands may write."""
    folder = tmp_path_factory.mktemp('copy') / 'mmvisionmix'
    folder.mkdir()
    subprocess.run(['cp', '-RP', *(ROOT / part for part in PARTS), folder], check=True)
    return folder


@pytest.fixture
def run(copy, monkeypatch):
    """Runs a command in the copy, as in an active environment that has all it takes."""
    binaries = copy.parent / 'environment/bin'
    binaries.mkdir(parents=True, exist_ok=True)
    (binaries / 'python').write_text(PYTHON % sys.executable)
    (binaries / 'python').chmod(0o755)

    def call(*words, code=0, cwd=copy, **variables):
        environment = {**os.environ, 'VIRTUAL_ENV': str(binaries.parent), 'PYTHONPATH': str(copy),
                       'PATH': f'{binaries}{os.pathsep}{os.environ["PATH"]}', 'WORDS': '',
                       **variables}
        result = subprocess.run(
            [*map(str, words)], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, timeout=900,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert result.returncode == code, result.stdout[-4000:]
        return result.stdout
    return call


classic = pytest.mark.skipif(
    not torch.__version__.startswith('2.1.'), reason='the pages pin the versions of this stack')


@classic
@pytest.mark.parametrize('page', sorted(
    {command.page for command in COMMANDS if 'install' in command.words[:2]}))
def test_pip_and_mim_resolve_what_pages_install(run, copy, page):
    """As a dry run without the index: the classic stack has all but the package itself."""
    commands = [command.words for command in COMMANDS if command.page == page]
    modern = (ROOT / 'requirements/modern.txt').read_text().split()
    dry = ['--dry-run', '--no-index', '--no-build-isolation']
    for program, verb, *args in [words for words in commands if words[1:2] == ('install', )]:
        # Not setuptools, which openmim replaces by 60.2 where Python runs that.
        assert all(arg in modern for arg in args if arg.startswith('setuptools'))
        args = [arg for arg in args if not arg.startswith('setuptools')]
        out = run('python', '-m', program, verb, *dry, *args)
        package = any(arg.startswith('.[') for arg in args)
        assert re.findall('^Would install (.*)-', out, re.M) == ['mmvisionmix'] * package, args


@pytest.mark.parametrize('args, last', (
    ([], '-q -n 2 --dist loadgroup tests'),
    (['tests/test_ops', '-k', 'fft'], '-q tests/test_ops -k fft'),
    (['-m', 'slow'], '-q -n 2 --dist loadgroup tests -m slow'),
    (['--stack', 'lite'], '-q -n 2 --dist loadgroup tests/test_ops tests/test_models '
                          'tests/test_checkpoints.py tests/test_mmcv_lite.py '
                          'tests/test_tools/test_export.py'),
    (['--stack', 'modern', 'tests/test_ops'], '-q tests/test_ops')))
def test_run_tests_gives_pytest_what_it_is_told(run, copy, args, last):
    """Which .ci/run has it really do."""
    (copy / 'tests/test_ops').mkdir(parents=True, exist_ok=True)
    out = run('bash', 'tools/run_tests.sh', *args, WORDS='1', STACK='classic', WORKERS='2')
    started = re.findall('^python -m (.*)$', out, re.M)
    assert started[0] == 'ruff check .' and started[-1] == f'pytest {last}'
    assert ('mypy' in started) == ('--stack' not in args)


@pytest.mark.slow
def test_quickstart_goes_from_nothing_to_a_picture_and_on_from_there(run, copy):
    """With four iterations, which teach so little that the script complains."""
    with (copy / 'configs/toy' / TOY.name).open('a') as file:
        file.write('train_cfg.update(max_iters=4, val_interval=4)\n'
                   'train_dataloader.update(batch_size=2)\n')
    out = run('bash', 'tools/quickstart.sh', code=1)
    assert 'Iter(val)' in out and 'than 60 mean that something is broken' in out
    assert (copy / 'work_dirs/quickstart/iter_4.pth').is_file()
    script = copy / 'tools/quickstart.sh'
    script.write_text(script.read_text().replace('EXPECTED=60', 'EXPECTED=0'))
    out = run('bash', 'tools/quickstart.sh')
    assert 'Iter(val)' not in out and 'Iter(test)' in out
    assert re.search(r'mIoU on unseen parts: +[\d.]+ %', out)
    assert Image.open(copy / 'work_dirs/quickstart/predictions.png').width > 100


def test_install_mmcv_leaves_a_working_one_alone(monkeypatch, capsys):
    pytest.importorskip('mmcv.ops', reason='it would be installed')
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import install_mmcv
    install_mmcv.main()
    assert capsys.readouterr().out.strip() == 'mmcv==2.1.0 is there already'


def test_check_env_shows_what_the_extras_need(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import check_env
    for check in ('check_package', 'check_operators'):  # tested by themselves
        monkeypatch.setattr(check_env, check, lambda: check_env.Row('it', '', '', True))
    monkeypatch.setattr(sys, 'argv', ['check_env.py', '--extras', 'seg', 'demo'])
    assert check_env.main() == 0
    out = capsys.readouterr().out
    assert re.search('^mmsegmentation .* yes$', out, re.M) and 'scikit-image' in out
    assert 'mmdet' not in out and 'mmpretrain' not in out
    monkeypatch.setattr(sys, 'argv', ['check_env.py'])
    assert check_env.main() == 0 and 'mmdet' in capsys.readouterr().out


def test_paper_tables_are_written_into_the_page(monkeypatch, tmp_path):
    paper = paper_tables.read_papers()['lkca']
    paper['tables'] = [{**paper['tables'][0], 'rows': paper['tables'][0]['rows'][:1]}]
    page = paper_tables.PAGE.read_text(encoding='utf-8')
    monkeypatch.setattr(paper_tables, 'PAGE', tmp_path / 'page.md')
    paper_tables.PAGE.write_text(page, encoding='utf-8')
    monkeypatch.setattr(paper_tables, 'read_papers', lambda: dict(lkca=paper))
    monkeypatch.setattr(sys, 'argv', ['paper_tables.py', '--write'])
    assert paper_tables.main() == 0
    written = paper_tables.PAGE.read_text(encoding='utf-8')
    row, = re.findall(r'^\| \S+_cifar10 .*$', written, re.M)
    assert row in page and written.partition('<!-- end lkca')[2] == page.partition(
        '<!-- end lkca')[2]


def test_digits_are_studied_by_the_papers_recipe(tmp_path, monkeypatch, capsys):
    few = {split: [part[:40] for part in svhn.load_digits(split)] for split in ('train', 'val')}
    monkeypatch.setattr(svhn, 'load_digits', few.__getitem__)
    known = digits_study.Run('vit', '0.5m', 0, 2, 32, 'paper', tmp_path).folder
    known.mkdir()
    (known / 'result.json').write_text(json.dumps({'accuracy/top1': [[2, 12.5]]}))
    monkeypatch.setattr('sys.argv', [
        'digits_study.py', '--sizes', '0.5m', '--recipe', 'paper', '--epochs', '2', '--seeds', '0',
        '--workers', '1', '--out', str(tmp_path)])
    digits_study.main()
    assert '| 0.5M | 12.5 (12.5) |' in capsys.readouterr().out
    config, = tmp_path.glob('*/*/vis_data/config.py')
    assert Config.fromfile(config).model.train_cfg.augments


def test_export_takes_opset_and_tolerance(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'small.py').write_text(SMALL)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile('small.py').model)
    torch.save(dict(state_dict=model.state_dict()), 'small.pth')
    export.main(['small.py', 'small.pth', '--out', 'small.onnx', '--opset', '16', '--tolerance',
                 '1e-4'])
    assert onnx.load('small.onnx').opset_import[0].version == 16
    with pytest.raises(SystemExit):
        export.main(['small.py', 'small.pth', '--out', 'none.onnx', '--tolerance', '1e-20'])
    assert not (tmp_path / 'none.onnx').exists()


def test_stock_publish_tool_runs_after_an_import_of_the_package(run, tmp_path):
    command, = {command.words for command in COMMANDS if command.words[-2:] == (
        'CHECKPOINT', 'OUT') and command.words[1] == '-c'}
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta={}, optimizer={}),
               tmp_path / 'CHECKPOINT')
    run(*command, cwd=tmp_path)
    published, = tmp_path.glob('OUT*')
    assert torch.load(published, weights_only=True)['state_dict']['weight'].tolist() == [1, 1]


@pytest.mark.parametrize('compiled', (
    [], pytest.param(['--compile', 'default'], marks=pytest.mark.slow)))
def test_benchmark_takes_all_options_of_the_page_together(tmp_path, capsys, compiled):
    """On a CPU, with two images of 32 pixels."""
    threads = torch.get_num_threads()
    try:
        benchmark.main([
            'timm:pvt_v2_b0', '--device', 'cpu', '--channels-last', '--dtype',
            'bfloat16', '--batch', '2', '--outputs', 'maps', '--sizes', '32x32', '64x64',
            '--modes', 'inference', '--rounds', '1', '--threads', '1', '--json',
            str(tmp_path / 'rows.json'), '--plot', str(tmp_path / 'curves.png'), '--memory',
            *compiled])
    finally:
        torch.set_num_threads(threads)
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert len(rows) == 2 and all(row['seconds'] > 0 for row in rows)
    assert Image.open(tmp_path / 'curves.png').width > 100


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return str(sock.getsockname()[1])


def short(data):
    """Options that make a run of a segmentor short."""
    loaders = [f'{split}_dataloader.{option}' for split in ('train', 'val', 'test') for option in (
        f'dataset.data_root={data}', 'num_workers=0', 'persistent_workers=False')]
    return ['--cfg-options', *loaders, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
            'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
            'default_hooks.checkpoint.interval=2']


@pytest.mark.slow
def test_two_nodes_train_together(demo_ade20k, tmp_path):
    """Both on this machine, with a process each."""
    variables = dict(PORT=free_port(), NNODES='2', MASTER_ADDR='127.0.0.1', OMP_NUM_THREADS='1')
    command = ['bash', str(ROOT / 'tools/dist_train.sh'), str(TOY), '1', *short(demo_ade20k)]
    nodes = [subprocess.Popen(
        [*command[:4], '--work-dir', f'node{rank}', *command[4:]], cwd=tmp_path, text=True,
        env={**os.environ, **variables, 'NODE_RANK': str(rank)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT) for rank in (0, 1)]
    outs = [node.communicate(timeout=600)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outs[0][-4000:] + outs[1][-4000:]
    assert 'Iter(train) [2/2]' in outs[0] and 'mIoU' in outs[0]
    assert (tmp_path / 'node0/iter_2.pth').is_file()


def hooks():
    """Revision and hooks of each repository that `pre-commit install` fetches, by its name."""
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    return {entry['repo'].rpartition('/')[2]: (entry.get('rev'), {
        hook['id']: hook for hook in entry['hooks']}) for entry in config['repos']}


def files():
    """The files of the clone that hooks read."""
    folders = [ROOT / name for name in (
        *PARTS, 'tests', 'docs', 'projects', 'mkdocs.yml', 'CHANGELOG.md', '.ci',
        '.pre-commit-config.yaml')]
    found = [file for folder in folders for file in (folder, *folder.rglob('*'))]
    return [file for file in found if file.is_file() and not file.is_symlink()
            and not {'__pycache__', '.mypy_cache', '.ruff_cache'} & set(file.parts)]


def test_hooks_have_the_versions_of_the_tested_tools():
    pins = dict(line.partition('#')[0].strip().split('==') for line in (
        ROOT / 'requirements/classic.txt').read_text().splitlines() if '==' in line)
    known = hooks()
    assert known['ruff-pre-commit'][0] == f'v{pins["ruff"]}'
    assert known['local'][1]['mypy']['entry'] == 'python -m mypy'  # as tools/run_tests.sh has it
    assert set(known) == {'ruff-pre-commit', 'local', 'pre-commit-hooks'}


def test_hooks_of_files_would_pass():
    """By their rules: trailing blanks, ends of files, YAML, and files above 500 KiB."""
    assert set(hooks()['pre-commit-hooks'][1]) == {
        'trailing-whitespace', 'end-of-file-fixer', 'check-yaml', 'check-added-large-files'}
    wrong = []
    for file in files():
        content = file.read_bytes()
        wrong += [file] * (len(content) > 500 * 1024)
        if b'\0' not in content and content:
            blanks = re.search(rb'[ \t]+$', content, re.M)
            wrong += [file] * bool(blanks or not re.search(rb'[^\n]\n\Z', content))
        if file.suffix in ('.yml', '.yaml'):
            list(yaml.compose_all(content))
    assert not wrong
