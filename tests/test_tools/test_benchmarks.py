# Copyright (c) mmvisionmix authors. All rights reserved.
"""The benchmarks print what they should; how long anything takes is not tested."""
import json
from functools import partial
from types import SimpleNamespace

import benchmark
import benchmark_layers
import networks
import plot_attention_cost
import profile_networks
import pytest
import timing
import torch
from benchmark_layers import MIXERS, Case
from networks import Images
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix.models import LinGlo

TINY = ('--rounds', '1', '--threads', '1')


@pytest.fixture(autouse=True)
def same_threads():
    """Restores the number of threads, which the scripts set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def cells_of(text):
    """The cells of all tables in a text, without headers and rules."""
    lines = text.splitlines()
    return [[cell.strip(' `') for cell in line.strip('|').split('|')]
            for above, line in zip(lines, lines[1:])
            if line.startswith('|') and above.startswith('|') and not line.startswith('|---')]


def test_figures_are_medians_over_rounds_in_turn_without_the_first(monkeypatch):
    calls = []

    class FakeTimer:
        def __init__(self, stmt, globals, num_threads):
            self.name, self.left = globals['run']

        def timeit(self, number):
            calls.append(self.name)
            return SimpleNamespace(median=self.left.pop(0))

    monkeypatch.setattr(timing, 'Timer', FakeTimer)
    monkeypatch.setattr(timing.timeit, 'timeit', lambda run, number, timer: FakeTimer(
        '', dict(run=run), 1).timeit(number).median)
    runs = dict(a=('a', [.9, .1, .5, .2]), b=('b', [.1, .3, .4, .4]))
    rows = timing.measure(runs, 'case', 'inference', 2, 3, memory=len, kind='k')
    assert calls == ['a', 'b'] * 4
    assert [(row['seconds'], row['images_per_second']) for row in rows] == [(.2, 10.), (.4, 5.)]
    cells = cells_of(timing.markdown(rows, 'b'))
    assert [row[-1] for row in cells] == ['0.5x', '1x']


@pytest.mark.skipif(
    not timing.STATUS.exists(), reason='peak memory is read from /proc, which Linux alone has')
def test_memory_is_what_a_run_adds_to_a_fresh_process():
    case = ('lkca', 'gemm', (48, 48, 64, 1), 1, 'inference')
    added = timing.peak_memory(
        benchmark_layers.prepare, (*case[:2], (4, 4, 64, 1), *case[3:]), case)
    matrix = 4 * 48**4 / 2**20
    assert matrix <= added <= 4 * matrix


def test_layers_print_a_row_per_form_and_mode(capsys):
    benchmark_layers.main(['group', '--cases', '4,5,8,2', '--batch', '2', '--forms', 'literal',
                           'deployed', 'sdpa', *TINY])
    assert [row[1:3] for row in cells_of(capsys.readouterr().out)] == [
        *(['inference', form] for form in ('literal', 'deployed', 'sdpa')),
        *(['training', form] for form in ('literal', 'sdpa'))]


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
    assert found.pop('sdpa').shape == (2, 15, 16)
    assert len(found) > 1 or (name, mode) == ('key-only', 'training')  # which has one form
    for out in found.values():
        torch.testing.assert_close(out, found['literal'])


def test_networks_print_a_row_per_size_and_mode(capsys, tmp_path):
    figures, curves = tmp_path / 'rows.json', tmp_path / 'new' / 'curves.png'
    names = ['linglo-b0', 'linglo-b0@literal']
    benchmark.main([
        *names, '--sizes', '32x32', '32x64', '--batch', '2', '--modes', 'inference', 'training',
        '--device', 'cpu', '--json', str(figures), '--plot', str(curves), *TINY])
    cells = cells_of(capsys.readouterr().out)
    assert [row[2] for row in cells] == names * 4
    assert len(json.loads(figures.read_text())) == 8 and curves.stat().st_size


def test_forms_of_networks_differ_in_what_their_names_say():
    images = Images(1, 64, 64, 'vectors')
    folded, plain, literal = (
        networks.build(f'linglo-b0{form}', images) for form in ('', '@plain', '@literal'))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (folded, plain, literal)]
    assert sizes[0] < sizes[1] == sizes[2]
    kinds = [{part.impl for part in model.modules() if hasattr(part, 'impl')}
             for model in (plain, literal)]
    assert kinds == [{'auto'}, {'literal'}]
    peer = networks.build('timm:repvit_m0_9', images)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in peer.modules())


@pytest.mark.parametrize('engine', networks.ENGINES)
@pytest.mark.parametrize('name', ['mcganet-base', 'timm:resnet18'])
def test_engines_compute_the_same(name, engine, monkeypatch):
    if engine == 'openvino':
        pytest.importorskip('openvino', reason='needs OpenVINO: pip install openvino')
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))  # quickly
    images = Images(2, 32, 64, 'maps')
    run = benchmark.prepare(f'{name}@{engine}', images, 'inference', benchmark.Settings())
    plain = benchmark.prepare(name, images, 'inference', benchmark.Settings())
    wanted = benchmark.infer(plain.args[0], *run.args[1:])
    torch.testing.assert_close(list(run()), list(wanted), rtol=1e-3, atol=1e-4)
    kind = type(run.args[0]).__name__
    assert kind == {'onnx': 'OnnxModel', 'openvino': 'OpenVinoModel',
                    'channels-last': 'ChannelsLast'}.get(engine, 'OptimizedModule')
    if engine in networks.EXPORTED:
        with pytest.raises(ValueError, match='trains none'):
            networks.build(f'{name}@{engine}', images, training=True)
        with pytest.raises(ValueError, match='in float32'):
            benchmark.prepare(f'{name}@{engine}', images, 'inference',
                              benchmark.Settings(dtype='bfloat16'))


@pytest.mark.parametrize('name, message', [
    ('linglo', 'error: no network linglo; there are dualformer-t, dualf'),
    ('linglo-b0@fast', 'error: linglo-b0 has no form fast; there are plain, literal, k-means'),
    ('timm:nothing', 'error: timm:nothing: Unknown model')])
def test_unknown_networks_are_refused(name, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main([name, *TINY])


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


def test_profile_counts_networks_and_their_operators(monkeypatch, tmp_path):
    monkeypatch.setattr(profile_networks, 'measure_machine',
                        partial(profile_networks.measure_machine, side=64))
    figures = tmp_path / 'profile.json'
    names = ['linglo-b0', 'timm:resnet18']
    profile_networks.main([
        *names, '--sizes', '32x32', '--batch', '2', '--device', 'cpu', '--modes', *timing.MODES,
        '--json', str(figures), *TINY])
    inference, peer, training, _ = json.loads(figures.read_text())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        networks.build('timm:resnet18', Images(2, 32, 32, 'vectors'))(torch.rand(2, 3, 32, 32))
    assert peer['macs'] == counter.get_total_flops() / 2
    assert training['macs'] > 2.5 * inference['macs']
    for row in (inference, peer, training):
        for field in ('seconds', 'floor'):
            assert sum(kind[field] for kind in row['kinds'].values()) == pytest.approx(row[field])


def test_cost_is_printed_and_drawn(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(plot_attention_cost, 'peak_memory', lambda *args, **options: 2048.)
    plot_attention_cost.main(
        ['--sizes', '32', '48', '--batch', '2', '--budget', '0.0002', '--out',
         str(tmp_path / 'new' / 'a.png'), *TINY])
    small, large = cells_of(capsys.readouterr().out)
    assert small[0] == '32 x 32' and '-' not in small
    assert large[0] == '48 x 48' and large[3] == large[6] == '-'  # beyond the budget
    assert (tmp_path / 'new/a.png').stat().st_size


def test_cost_compares_networks_that_differ_in_attention_alone():
    models = {name: plot_attention_cost.build(name) for name in plot_attention_cost.CURVES}
    images = torch.rand(2, 3, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(models['fused'](images), models['matrix'](images))
    kept = [part for part in models['matrix'].modules()
            if isinstance(part, plot_attention_cost.MatrixAttention)]
    assert len(kept) == sum(LinGlo.arch_settings['b0']['depths'])
