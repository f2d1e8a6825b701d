# Copyright (c) mmvisionmix authors. All rights reserved.
"""The benchmarks print what they should; how long anything takes is not tested."""
import json
import sys
from functools import partial
from pathlib import Path

import benchmark
import benchmark_layers
import common
import networks
import plot_attention_cost
import profile_networks
import pytest
import timing
import torch
from benchmark_layers import MIXERS, Case
from networks import Images
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix.models import LinGlo

ROOT = Path(__file__).resolve().parents[2]
TINY = ('--rounds', '1', '--threads', '1')


@pytest.fixture(autouse=True)
def same_threads():
    """Restores the number of threads, which the scripts set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clock(monkeypatch):
    """Runs return the seconds that they are said to have taken; a list of their names in turn."""
    calls = []

    def once(run, number=1):
        name, seconds = run()
        calls.append(name)
        return seconds

    class FakeTimer:
        def __init__(self, stmt, globals, num_threads):
            self.run = globals['run']

        def timeit(self, number):
            return type('Measurement', (), dict(median=once(self.run)))

    monkeypatch.setattr(timing, 'Timer', FakeTimer)
    monkeypatch.setattr(timing.timeit, 'timeit', once)
    return calls


@pytest.fixture
def no_processes(monkeypatch):
    """Makes up the memory of runs, whose fresh processes take seconds each to start."""
    def prepared(prepare, warm_up, case, gradients=False):
        assert callable(prepare(*warm_up))
        return 2048.

    for script in (benchmark_layers, plot_attention_cost):
        monkeypatch.setattr(script, 'peak_memory', prepared)


def run_taking(name, *seconds):
    left = iter(seconds)
    return lambda: (name, next(left))


def cells_of(text):
    """The cells of all tables in a text, without headers and rules."""
    lines = text.splitlines()
    return [[cell.strip(' `') for cell in line.strip('|').split('|')]
            for above, line in zip(lines, lines[1:])
            if line.startswith('|') and above.startswith('|') and not line.startswith('|---')]


def test_figures_are_over_rounds_in_turn_without_the_first(clock):
    runs = dict(a=run_taking('a', .9, .1, .5, .2), b=run_taking('b', .1, .3, .4, .4))
    first, second = timing.measure(runs, 'case', 'inference', 2, 3, memory=len, kind='k')
    assert clock == ['a', 'b'] * 4
    assert first == dict(kind='k', case='case', mode='inference', name='a', batch=2, seconds=.2,
                         spread=pytest.approx(.1), images_per_second=10., mib=1)
    assert second['seconds'] == .4
    cells = cells_of(timing.markdown([first, second], 'b'))
    assert cells == [['case', 'inference', 'a', '200 ms', '50.0%', '10', '1 MiB', '0.5x'],
                     ['case', 'inference', 'b', '400 ms', '6.3%', '5', '1 MiB', '1x']]


@pytest.mark.skipif(
    not timing.STATUS.exists(), reason='peak memory is read from /proc, which Linux alone has')
def test_memory_is_what_a_run_adds_to_a_fresh_process():
    case = ('lkca', 'gemm', (48, 48, 64, 1), 1, 'inference')
    added = timing.peak_memory(
        benchmark_layers.prepare, (*case[:2], (4, 4, 64, 1), *case[3:]), case)
    matrix = 4 * 48**4 / 2**20
    assert matrix <= added <= 4 * matrix


def test_tables_and_titles_show_paths_as_they_are():
    assert common.table(('a', 'b'), [('[red]x.py', ':ok:')]) == (
        '| a         | b    |\n|-----------|------|\n| [red]x.py | :ok: |')
    assert timing.time_interleaved(dict(sum=torch.ones(2).sum), 1, 'a[/x].py')['sum'] > 0


# benchmark_layers.py


def test_layers_print_a_row_per_form_and_mode(no_processes, capsys, tmp_path):
    out = tmp_path / 'layers.json'
    benchmark_layers.main(['--cases', '4,5,8,2', '--batch', '2', '--memory', '--json', str(out),
                           '--forms', 'literal', 'deployed', 'sdpa', *TINY])
    cells = cells_of(capsys.readouterr().out)
    assert list(dict.fromkeys(row[0] for row in cells)) == [
        f'{name}, 4 x 5 x 8 (2)' for name in MIXERS]
    group = [row for row in cells if row[0].startswith('group')]
    assert [row[1:3] for row in group] == [
        *(['inference', form] for form in ('literal', 'deployed', 'sdpa')),
        *(['training', form] for form in ('literal', 'sdpa'))]
    assert all(row[6] == '2048 MiB' for row in cells)
    assert [row['mixer'] for row in json.loads(out.read_text())] == [
        row[0].split(',')[0] for row in cells]


@pytest.mark.parametrize('name', MIXERS)
@pytest.mark.parametrize('mode', timing.MODES)
def test_forms_of_a_layer_compute_the_same(name, mode):
    case = Case(3, 5, 16, 2)
    found = {}
    for form in benchmark_layers.forms_of(name, case, mode):
        run = benchmark_layers.prepare(name, form, case, 2, mode)
        inputs = run.args[1]
        torch.nn.init.trunc_normal_(inputs[0], std=1., generator=torch.Generator().manual_seed(1))
        with torch.set_grad_enabled(mode == 'training'):
            found[form] = run.args[0](*inputs).detach()
        assert run() is not None
    assert found.pop('sdpa').shape == (2, 15, 16) and len(found) > 1
    for out in found.values():
        torch.testing.assert_close(out, found['literal'])


@pytest.mark.parametrize('args, message', [
    (('--cases', '7,7,64'), "must be height,width,dims,heads, got '7,7,64'"),
    (('--cases', '7,7,64,3'), "dims must be a multiple of heads, got '7,7,64,3'"),
    (('--cases', '7,7,64,0'), "must be a positive integer, got '0'"),
    (('--rounds', '0'), "must be a positive integer, got '0'"),
    (('lcka', ), 'no mixer lcka; there are lkca, key-only, group, partition'),
])
def test_layers_refuse_what_is_none(args, message, capsys):
    with pytest.raises(SystemExit):
        benchmark_layers.main(args)
    assert message in capsys.readouterr().err


# benchmark.py and networks.py


def test_networks_print_a_row_per_size_and_mode(capsys, tmp_path):
    figures, curves = tmp_path / 'rows.json', tmp_path / 'new' / 'curves.png'
    names = ['linglo-b0', 'linglo-b0@literal']
    benchmark.main([
        *names, '--sizes', '32x32', '32x64', '--batch', '2', '--modes', 'inference', 'training',
        '--device', 'cpu', '--json', str(figures), '--plot', str(curves), *TINY])
    cells = cells_of(capsys.readouterr().out)
    assert [row[2] for row in cells] == names * 4
    assert [row[:2] for row in cells[::2]] == [
        [f'2 x 32 x {width}, vectors', mode] for width in (32, 64) for mode in timing.MODES]
    assert all(row['device'] == 'cpu' and row['mib'] is None
               for row in json.loads(figures.read_text()))
    width, height = Image.open(curves).size
    assert height > width  # a panel per mode


@pytest.mark.parametrize('outputs', ['vectors', 'maps'])
@pytest.mark.parametrize('name', ['linglo-b0', 'lkca-s', 'mmpretrain:resnet18_8xb32_in1k',
                                  'timm:resnet18'])
def test_networks_give_the_outputs_that_are_asked_for(name, outputs):
    model = networks.build(name, Images(2, 32, 64, outputs))
    with torch.no_grad():
        out = model(torch.rand(2, 3, 32, 64))
    maps = out if isinstance(out, (list, tuple)) else (out, )
    assert maps[-1].dim() == (4 if outputs == 'maps' else 2) and len(maps[-1]) == 2
    assert len(maps) >= 4 if outputs == 'maps' else len(maps) == 1


def test_forms_of_networks_differ_in_what_their_names_say():
    images = Images(1, 64, 64, 'vectors')
    folded, plain, literal, trained = (
        networks.build(f'linglo-b0{form}', images, training)
        for form, training in (('', False), ('@plain', False), ('@literal', False), ('', True)))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (folded, plain, literal)]
    assert sizes[0] < sizes[1] == sizes[2]
    assert trained.training and not plain.training
    kinds = [{part.impl for part in model.modules() if hasattr(part, 'impl')}
             for model in (plain, literal)]
    assert kinds == [{'auto'}, {'literal'}]
    model = networks.build('dualformer-xs@k-means', images)
    assert {part.partition for part in model.modules() if hasattr(part, 'partition')} == {'k-means'}
    peer = networks.build('timm:repvit_m0_9', images)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in peer.modules())


@pytest.mark.parametrize('mode, settings', [
    *((mode, settings) for mode in timing.MODES
      for settings in (dict(dtype='bfloat16'), dict(channels_last=True))),
    ('inference', dict(compile='default'))])
def test_settings_reach_the_network(monkeypatch, mode, settings):
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))  # quickly
    seen = []

    def record(module, args, out):
        seen.append((out.dtype, args[0].is_contiguous(memory_format=torch.channels_last)))

    run = benchmark.prepare('linglo-b0', Images(2, 32, 32, 'vectors'), mode,
                            benchmark.Settings(**settings))
    model = getattr(run.args[0], '_orig_mod', run.args[0])
    assert (model is run.args[0]) != ('compile' in settings)
    before = [p.detach().clone() for p in model.parameters()]
    next(part for part in model.modules() if isinstance(part, torch.nn.Conv2d)
         ).register_forward_hook(record)
    run()
    lower = torch.bfloat16 if 'dtype' in settings else torch.float32
    assert seen[0][0] == lower and ('channels_last' not in settings or seen[0][1])
    changed = [bool((p != old).any()) for p, old in zip(model.parameters(), before)]
    assert all(changed) if mode == 'training' else not any(changed)


@pytest.mark.parametrize('arguments, message', [
    (['linglo'], 'error: no network linglo; there are dualformer-t, dualf'),
    (['linglo-b0@fast'], 'error: linglo-b0 has no form fast; there are plain, literal, k-means'),
    (['timm:nothing'], 'error: timm:nothing: Unknown model'),
    (['configs/nothing.py'], 'nothing.py')])
def test_unknown_networks_are_refused(arguments, message, monkeypatch):
    with pytest.raises(SystemExit, match=message):
        benchmark.main([*arguments, *TINY])
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(SystemExit, match='timm:pvt_v2_b0 comes from timm: pip install timm'):
        benchmark.main(['timm:pvt_v2_b0', *TINY])


@pytest.mark.parametrize('arguments, message', [
    (['--sizes', '224'], "must be HEIGHTxWIDTH, got '224'"),
    (['--baseline', 'linglo-b1'], 'the baseline linglo-b1 is none of linglo-b0'),
    (['--plot', 'curves.png'], '--plot draws curves over image sizes: give several to --sizes')])
def test_benchmark_refuses_options_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['linglo-b0', *arguments])
    assert message in capsys.readouterr().err


# profile_networks.py


def test_profile_prints_networks_and_their_operators(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(profile_networks, 'measure_machine',
                        partial(profile_networks.measure_machine, side=64))
    figures = tmp_path / 'profile.json'
    names = ['linglo-b0', 'timm:resnet18']
    profile_networks.main([
        *names, '--sizes', '32x32', '--batch', '2', '--device', 'cpu', '--modes', *timing.MODES,
        '--json', str(figures), *TINY])
    assert [row[2] for row in cells_of(capsys.readouterr().out)[:4]] == names * 2
    inference, peer, training, _ = json.loads(figures.read_text())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        networks.build('timm:resnet18', Images(2, 32, 32, 'vectors'))(torch.rand(2, 3, 32, 32))
    assert peer['macs'] == counter.get_total_flops() / 2
    assert training['macs'] > 2.5 * inference['macs']
    for row in (inference, peer, training):
        for field in ('seconds', 'floor'):
            assert sum(kind[field] for kind in row['kinds'].values()) == pytest.approx(row[field])


# plot_attention_cost.py


def test_cost_is_printed_drawn_and_drawn_again(no_processes, capsys, tmp_path):
    figures, pictures = tmp_path / 'cost.json', [tmp_path / 'new' / 'a.png', tmp_path / 'b.png']
    plot_attention_cost.main(
        ['--sizes', '32', '48', '--batch', '2', '--budget', '0.0002', '--json', str(figures),
         '--out', str(pictures[0]), *TINY])
    text = capsys.readouterr().out
    small, large = cells_of(text)
    assert small[0] == '32 x 32' and '-' not in small
    assert large[0] == '48 x 48' and large[3] == large[6] == '-' and large.count('-') == 2
    assert large[4] == '2048 MiB'
    assert 'matrix kept" at 48 pixels, where the matrices need more than 0.0002 GiB' in text
    plot_attention_cost.main(['--draw', str(figures), '--out', str(pictures[1])])
    assert cells_of(capsys.readouterr().out) == [small, large]
    with Image.open(pictures[0]) as first, Image.open(pictures[1]) as second:
        assert first.tobytes() == second.tobytes()


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='error: --device cuda: torch finds no CUDA device here'):
        plot_attention_cost.main(['--device', 'cuda'])


def test_cost_compares_networks_that_differ_in_attention_alone():
    models = {name: plot_attention_cost.build(name) for name in plot_attention_cost.CURVES}
    images = torch.rand(2, 3, 40, 64)
    with torch.no_grad():
        fused, matrix = (models[name](images)[0] for name in ('fused', 'matrix'))
    torch.testing.assert_close(fused, matrix)
    kept = [part for part in models['matrix'].modules()
            if isinstance(part, plot_attention_cost.MatrixAttention)]
    assert len(kept) == sum(LinGlo.arch_settings['b0']['depths'])
