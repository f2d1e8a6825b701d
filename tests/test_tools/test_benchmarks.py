# Copyright (c) mmvisionmix authors. All rights reserved.
"""The benchmarks print what they should; how long anything takes is not tested."""
import json
import math
import sys
from functools import partial
from pathlib import Path

import benchmark
import benchmark_attention
import benchmark_key_only
import benchmark_ops
import networks
import plot_attention_cost
import profile_networks
import pytest
import timing
import torch
from benchmark_key_only import Case
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix.models import DualFormer, LinGlo, MCGANet

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
    """Replaces both clocks; runs return the seconds they are said to have taken, and are counted.

    A list of names, in the order of the calls that are timed.
    """
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
    def prepared(prepare, warm_up, case):
        assert callable(prepare(*warm_up))
        return 2048.

    for script in (benchmark_ops, plot_attention_cost):
        monkeypatch.setattr(script, 'peak_memory', prepared)


def run_taking(name, *seconds):
    left = iter(seconds)
    return lambda: (name, next(left))


def cells_of(text):
    """The cells of all tables in a text, without headers and rules."""
    lines = text.splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')]
            for above, line in zip(lines, lines[1:])
            if line.startswith('|') and above.startswith('|') and not line.startswith('|---')]


# What the benchmarks share.


def test_median_is_over_rounds_in_turn_without_the_first(clock):
    runs = dict(a=run_taking('a', .9, .1, .5, .2), b=run_taking('b', .1, .3, .4, .4))
    assert timing.time_interleaved(runs, 3, 'title') == dict(a=.2, b=.4)
    assert clock == ['a', 'b'] * 4


def test_slow_runs_may_have_fewer_rounds(clock):
    runs = dict(slow=run_taking('slow', 9., 5., 7.), fast=run_taking('fast', 2., .1, .2, .3))
    times = timing.time_interleaved(runs, 3, 'title', slow_rounds=2)
    assert times == dict(slow=6., fast=.2)  # one that is slow only at first is none of them
    assert clock == ['slow', 'fast'] * 3 + ['fast']


def test_slow_runs_have_all_rounds_by_default(clock):
    timing.time_interleaved(dict(slow=run_taking('slow', 9., 5., 7., 6.)), 3, 'title')
    assert clock == ['slow'] * 4


def test_clocks_of_torch_and_python_time_a_run():
    times = timing.time_interleaved(dict(sum=torch.ones(2).sum), 1, 'title')
    assert times['sum'] > 0


@pytest.mark.skipif(
    not timing.STATUS.exists(), reason='peak memory is read from /proc, which Linux alone has')
def test_memory_is_what_a_run_adds_to_a_fresh_process():
    grid, dims = 48, 64
    added = timing.peak_memory(
        benchmark_ops.prepare, ('gemm', *benchmark_ops.SMALL), ('gemm', grid, 1, dims))
    matrix = 4 * grid**4 / 2**20
    assert matrix <= added <= 4 * matrix


def test_memory_is_unknown_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, 'STATUS', tmp_path / 'status')
    assert math.isnan(timing.peak_memory(benchmark_ops.prepare, (), ()))


def test_spread_is_half_the_distance_of_the_quartiles():
    assert timing.spread([5., 1., 3., 2., 4.]) == 1.
    assert timing.spread([7.]) == 0.


def test_figures_and_tables_are_markdown():
    assert timing.with_unit(0.0012345, 'ms', 1e3) == '1.23 ms'
    assert timing.with_unit(1234.5, 'MiB') == '1234 MiB'
    assert timing.with_unit(None, 'ms') == timing.with_unit(math.nan, 'MiB') == '-'
    assert timing.ratio(3., 2.) == '1.5x'
    assert timing.ratio(None, 2.) == timing.ratio(2., None) == '-'
    assert timing.table(('a', 'b'), [('1', '2')]) == '| a | b |\n|---|---|\n| 1 | 2 |'


@pytest.mark.parametrize('script', [benchmark, benchmark_key_only, plot_attention_cost])
def test_counts_below_one_are_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(['--rounds', '0'])
    assert "must be a positive integer, got '0'" in capsys.readouterr().err


# benchmark_ops.py


def test_ops_print_a_row_per_form(no_processes, capsys, tmp_path):
    out = tmp_path / 'ops.json'
    benchmark_ops.main(['--grids', '4', '5', '--dims', '64', '--no-conv', '--out', str(out), *TINY])
    text = capsys.readouterr().out
    assert '5 x 5 tokens, 64 channels, batch 1:' in text
    assert [cells[0] for cells in cells_of(text)] == ['gemm', 'spectral', 'fft', 'sdpa'] * 2
    assert all(cells[2] == '-' and cells[-1] == '2048 MiB' for cells in cells_of(text))
    rows = json.loads(out.read_text())
    assert [row['grid'] for row in rows] == [4] * 4 + [5] * 4


def test_ops_show_ratios_to_convolution_attention_and_floor():
    row = dict(grid=4, batch=1, dims=64, peak_mib=1.)
    text = benchmark_ops.markdown([
        dict(row, form='conv', forward=8e-3, floor=None, forward_backward=None),
        dict(row, form='gemm', forward=2e-3, floor=1e-3, forward_backward=5e-3),
        dict(row, form='sdpa', forward=4e-3, floor=None, forward_backward=6e-3)])
    assert cells_of(text)[1] == [
        'gemm', '2 ms', '4x', '2x', '2x', '5 ms', '1.2x', '1 MiB']
    assert cells_of(text)[0][4:7] == ['-', '-', '-']


# benchmark_key_only.py


def test_key_only_prints_both_tables(capsys, tmp_path):
    out = tmp_path / 'key_only.json'
    benchmark_key_only.main(
        ['--pairs', '20,8,2', '2,16,2', '--batch', '2', '--json', str(out), *TINY])
    text = capsys.readouterr().out
    assert 'Forward, batch 2:' in text and 'Forward and backward, batch 2:' in text
    cells = cells_of(text)
    assert [row[0] for row in cells] == ['20 x 8 (2)', '2 x 16 (2)'] * 2
    assert [row[2].split()[-1] for row in cells] == ['(collapsed)', '(literal)'] * 2
    assert [row[4].split()[-1] for row in cells[:2]] == ['(collapsed)', '(merged)']
    first, _ = json.loads(out.read_text())
    assert set(first['forward']) == {'literal', 'auto', 'cached', 'sdpa'}
    assert set(first['forward_backward']) == {'literal', 'auto', 'sdpa'}


def test_key_only_layers_differ_in_form_alone():
    layers = benchmark_key_only.make_layers(Case(12, 8, 2))
    x = torch.rand(2, 12, 8)
    expected = layers['literal'](x, None)
    for name in ('auto', 'cached'):
        torch.testing.assert_close(layers[name](x, None), expected)
    assert [layer.training for layer in layers.values()] == [True, True, False, True]


def test_key_only_leaves_attention_out_where_it_takes_too_long():
    tokens = benchmark_key_only.MAX_PEER_TOKENS
    assert 'sdpa' in benchmark_key_only.make_layers(Case(tokens, 8, 1))
    assert 'sdpa' not in benchmark_key_only.make_layers(Case(tokens + 1, 8, 1))
    row = dict(
        Case(9, 8, 2)._asdict(), batch=1, auto_impl='literal', cached_impl='merged',
        forward=dict(literal=4e-3, auto=2e-3, cached=1e-3),
        forward_backward=dict(literal=6e-3, auto=3e-3))
    assert cells_of(benchmark_key_only.markdown([row])) == [
        ['9 x 8 (2)', '4 ms', '2 ms (literal)', '2x', '1 ms (merged)', '4x', '-', '-'],
        ['9 x 8 (2)', '6 ms', '3 ms (literal)', '2x', '-', '-']]


def test_key_only_cases_are_those_of_the_networks():
    stages = {(dims, heads) for arch in ('b0', 'b1', 'b2')
              for dims, heads in zip(LinGlo.arch_settings[arch]['embed_dims'],
                                     LinGlo.arch_settings[arch]['num_heads'])}
    assert {(case.dims, case.heads) for case in benchmark_key_only.CASES} == stages


@pytest.mark.parametrize('text, message', [
    ('784,64', "must be tokens,dims,heads, got '784,64'"),
    ('784,64,3', "dims must be a multiple of heads, got '784,64,3'"),
    ('784,64,0', "must be a positive integer, got '0'"),
])
def test_key_only_refuses_cases_that_are_none(text, message, capsys):
    with pytest.raises(SystemExit):
        benchmark_key_only.main(['--pairs', text])
    assert message in capsys.readouterr().err


# benchmark_attention.py

attentions = pytest.mark.parametrize('name', benchmark_attention.ATTENTIONS)


@attentions
def test_attention_prints_both_tables(name, capsys, tmp_path):
    out = tmp_path / 'attention.json'
    benchmark_attention.main([
        name, '--grids', '4,5,8,2', '2,2,16,2', '--batch', '2', '--json', str(out), *TINY])
    text = capsys.readouterr().out
    assert 'Forward, batch 2:' in text and 'Forward and backward, batch 2:' in text
    assert [row[0] for row in cells_of(text)] == ['4 x 5 x 8 (2)', '2 x 2 x 16 (2)'] * 2
    first, _ = json.loads(out.read_text())
    assert first['attention'] == name
    for field in ('forward', 'forward_backward'):
        assert set(first[field]) == {'literal', 'fast', 'sdpa'}


@attentions
def test_attention_layers_differ_in_form_alone(name):
    case = benchmark_attention.ATTENTIONS[name].cases[3]
    layers = benchmark_attention.make_layers(name, case)
    x = torch.rand(2, case.dims, 7, 7)
    torch.testing.assert_close(layers['fast'](x), layers['literal'](x))
    assert layers['literal'].impl == 'literal'
    large = case._replace(height=1, width=benchmark_attention.MAX_PEER_TOKENS + 1)
    assert 'sdpa' not in benchmark_attention.make_layers(name, large)


def test_attention_cases_are_those_of_the_networks():
    group, partition = (kind.cases for kind in benchmark_attention.ATTENTIONS.values())
    settings = MCGANet.arch_settings['base']
    stages = list(zip(settings['embed_dims'], settings['num_heads']))
    assert [(case.dims, case.heads) for case in group] == stages
    settings = DualFormer.arch_settings['xs']
    assert [2 * case.dims for case in partition] == list(settings['embed_dims'])
    assert [56 // 2**i // step for i, step in enumerate(settings['reductions'])] == [
        case.height for case in partition]


# benchmark.py


def test_networks_print_a_row_per_size_and_mode(capsys, tmp_path):
    figures, curves = tmp_path / 'rows.json', tmp_path / 'new' / 'curves.png'
    networks = ['linglo-b0', 'linglo-b0@literal', 'timm:pvt_v2_b0']
    benchmark.main([
        *networks, '--sizes', '32x32', '32x64', '--batch', '2', '--modes', 'inference', 'training',
        '--device', 'cpu', '--json', str(figures), '--plot', str(curves), *TINY])
    cells = cells_of(capsys.readouterr().out)
    assert [row[2].strip('`') for row in cells] == networks * 4
    assert [row[:2] for row in cells[::3]] == [
        [f'2 x 32 x {width}, vectors', mode] for width in (32, 64)
        for mode in ('inference', 'training')]
    assert [row[-1] for row in cells[::3]] == ['1x'] * 4
    rows = json.loads(figures.read_text())
    assert all(row['images_per_second'] == 2 / row['seconds'] for row in rows)
    assert all(row['device'] == 'cpu' and row['mib'] is None for row in rows)
    width, height = Image.open(curves).size
    assert height > width  # a panel per mode


def test_networks_show_ratios_to_the_baseline_on_the_same_images():
    rows = [dict(batch=4, height=size, width=size, outputs='maps', mode='inference', network=name,
                 seconds=seconds, spread=seconds / 50, mib=None, images_per_second=4 / seconds)
            for size, times in ((8, (.02, .04)), (16, (.1, .05)))
            for name, seconds in zip(('one', 'other'), times)]
    cells = cells_of(benchmark.markdown(rows, 'other'))
    assert [row[3:] for row in cells] == [
        ['20 ms', '2.0%', '200', '-', '0.5x'], ['40 ms', '2.0%', '100', '-', '1x'],
        ['100 ms', '2.0%', '40', '-', '2x'], ['50 ms', '2.0%', '80', '-', '1x']]


def test_curves_show_what_was_measured():
    rows = [dict(batch=1, height=size, width=size, mode='inference', network=name,
                 seconds=factor * size, mib=7. * size)
            for name, factor in (('one', 1), ('other', 2)) for size in (32, 8, 16)]
    time, memory = benchmark.draw(rows).axes
    one, other, linear = time.get_lines()
    assert (one.get_label(), other.get_label()) == ('one', 'other')
    assert list(one.get_xdata()) == [64, 256, 1024] and list(other.get_ydata()) == [16, 32, 64]
    assert list(linear.get_ydata()) == [8, 32, 128]
    assert list(memory.get_lines()[0].get_ydata()) == [56, 112, 224]


@pytest.mark.parametrize('outputs', ['vectors', 'maps'])
@pytest.mark.parametrize('names', [
    ('linglo-b0', 'linglo-b0@literal', 'linglo-b0@plain', 'timm:pvt_v2_b0'),
    ('lkca-s', 'lkca-s@literal'),
    ('dualformer-xs', 'dualformer-xs@k-means', 'mcganet-base'),
    ('mmpretrain:resnet18_8xb32_in1k', 'timm:resnet18'),
])
def test_networks_give_the_outputs_that_are_asked_for(names, outputs):
    for name in names:
        model = networks.build(name, networks.Images(2, 32, 64, outputs))
        assert not model.training
        with torch.no_grad():
            out = model(torch.rand(2, 3, 32, 64))
        maps = out if isinstance(out, (list, tuple)) else (out, )
        assert {maps[-1].dim()} == {4 if outputs == 'maps' else 2}
        assert len(maps) >= 4 if outputs == 'maps' else len(maps) == 1
        assert len(maps[-1]) == 2


def test_forms_of_networks_differ_in_what_their_names_say():
    images = networks.Images(1, 64, 64, 'vectors')
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


def test_networks_of_configs_are_whole_or_their_backbones():
    images = networks.Images(1, 64, 64, 'maps')
    config = str(ROOT / 'configs/fpn_lkca_s_ade20k.py')
    segmentor, backbone, plain = (
        networks.build(f'{config}{form}', images) for form in ('', '@backbone', '@plain'))
    assert type(segmentor).__name__ == 'EncoderDecoder' and type(backbone).__name__ == 'LKCAViT'
    assert backbone.pos_embed.shape[2:] == (4, 4)
    names = [set(model.state_dict()) for model in (segmentor.backbone, backbone, plain.backbone)]
    assert names[0] == names[1] < names[2]  # projections of values are folded away
    with torch.no_grad():
        assert segmentor(torch.rand(1, 3, 64, 64)).shape == (1, 150, 4, 4)
    peer = ROOT / 'configs/lkca/vit-s_fpn_1xb16-10k_ade20k-512x512.py'
    assert networks.build(f'{peer}@backbone', images, training=True).training


@pytest.mark.parametrize('mode, settings', [
    *((mode, settings) for mode in benchmark.MODES
      for settings in (dict(dtype='bfloat16'), dict(channels_last=True))),
    ('inference', dict(compile='default'))])
def test_settings_reach_the_network(monkeypatch, mode, settings):
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))  # quickly
    seen = []

    def record(module, args, out):
        seen.append((out.dtype, args[0].is_contiguous(memory_format=torch.channels_last)))

    run = benchmark.prepare('linglo-b0', networks.Images(2, 32, 32, 'vectors'), mode,
                            benchmark.Settings(**settings))
    model = getattr(run.args[0], '_orig_mod', run.args[0])
    assert (model is run.args[0]) != ('compile' in settings)
    before = [p.detach().clone() for p in model.parameters()]
    model.stem.conv.register_forward_hook(record)
    run()
    lower = torch.bfloat16 if 'dtype' in settings else torch.float32
    assert seen[0][0] == lower and ('channels_last' not in settings or seen[0][1])
    changed = [bool((p != old).any()) for p, old in zip(model.parameters(), before)]
    assert all(changed) if mode == 'training' else not any(changed)


def test_networks_say_how_to_get_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(SystemExit, match='timm:pvt_v2_b0 comes from timm: pip install timm'):
        benchmark.main(['timm:pvt_v2_b0', *TINY])


@pytest.mark.parametrize('arguments, message', [
    (['linglo'], 'error: no network linglo; there are dualformer-t, dualf'),
    (['linglo-b0@fast'], 'error: linglo-b0 has no form fast; there are plain, literal, k-means'),
    (['timm:nothing'], 'error: timm:nothing: Unknown model'),
    (['configs/nothing.py'], 'nothing.py'),
])
def test_unknown_networks_are_refused(arguments, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main([*arguments, *TINY])


@pytest.mark.parametrize('arguments, message', [
    (['--sizes', '224'], "must be HEIGHTxWIDTH, got '224'"),
    (['--baseline', 'linglo-b1'], 'the baseline linglo-b1 is none of linglo-b0'),
    (['--plot', 'curves.png'], '--plot draws curves over image sizes: give several to --sizes'),
])
def test_benchmark_refuses_options_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(['linglo-b0', *arguments])
    assert message in capsys.readouterr().err


# profile_networks.py


def test_ledger_counts_products_and_what_is_moved():
    machine = profile_networks.Machine(macs=1e3, bytes=1e3)
    x, weight = torch.rand(4, 8), torch.rand(8, 16)
    with torch.no_grad(), profile_networks.Ledger(machine) as ledger:
        torch.relu((x @ weight).view(16, 4).t())
    assert set(ledger.work) == {'matrix products', 'activations'}  # views move nothing
    product, relu = ledger.work['matrix products'], ledger.work['activations']
    assert (product.macs, product.bytes) == (4 * 8 * 16, 4 * (4 * 8 + 8 * 16 + 4 * 16))
    assert (relu.macs, relu.bytes) == (0, 4 * 2 * 64)
    assert product.floor == product.bytes / 1e3 and relu.floor == relu.bytes / 1e3
    quick = profile_networks.Machine(macs=1., bytes=1e12)
    with torch.no_grad(), profile_networks.Ledger(quick) as ledger:
        x @ weight
    assert ledger.work['matrix products'].floor == 4 * 8 * 16


@pytest.mark.parametrize('groups', (1, 2, 8))
def test_ledger_counts_each_gradient_of_a_convolution_as_its_forward_pass(groups):
    """Depthwise ones too."""
    conv = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 8, 5, 5, requires_grad=True)
    with profile_networks.Ledger(profile_networks.Machine(1., 1.)) as ledger:
        conv(x).sum().backward()
    assert ledger.work['convolutions'].macs == 3 * (2 * 8 * 25) * (8 // groups * 9)


@pytest.mark.parametrize('name, kind', [
    ('aten::mkldnn_convolution', 'convolutions'), ('addmm.default', 'matrix products'),
    ('aten::native_layer_norm', 'norms'), ('aten::_softmax', 'activations'),
    ('copy_.default', 'copies'), ('aten::add_', 'elementwise, sums'), ('aten::topk', 'other')])
def test_operators_have_kinds(name, kind):
    assert profile_networks.kind_of(name) == kind


def test_profile_prints_networks_and_their_operators(capsys, tmp_path):
    figures = tmp_path / 'profile.json'
    profile_networks.main([
        'linglo-b0', 'timm:resnet18', '--sizes', '32x32', '--batch', '2', '--device', 'cpu',
        '--modes', 'inference', 'training', '--json', str(figures), *TINY])
    cells = cells_of(capsys.readouterr().out)
    names = ['linglo-b0', 'timm:resnet18']
    assert [row[2].strip('`') for row in cells[:4]] == names * 2
    inference, peer, training, _ = json.loads(figures.read_text())
    model = networks.build('timm:resnet18', networks.Images(2, 32, 32, 'vectors'))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.rand(2, 3, 32, 32))
    assert peer['macs'] == counter.get_total_flops() / 2
    assert training['macs'] > 2.5 * inference['macs']
    for row in (inference, peer, training):
        assert sum(kind['seconds'] for kind in row['kinds'].values()) == pytest.approx(
            row['seconds'])
        assert sum(kind['floor'] for kind in row['kinds'].values()) == pytest.approx(row['floor'])


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


def test_cost_has_two_panels_and_marks_what_was_not_run():
    rows = [dict(size=size, batch=16, curve=curve, seconds=size / 100, mib=size * 10.24,
                 left_out=None) for size in (200, 100) for curve in plot_attention_cost.CURVES]
    rows[2].update(seconds=None, mib=None, left_out='the matrices need more than 8 GiB')
    latency, memory = plot_attention_cost.draw(rows).axes
    assert latency.get_ylabel() == 'latency of a batch of 16 (s)'
    assert memory.get_ylabel() == 'memory added by a forward pass (GiB)'
    for ax, values in ((latency, [1, 2]), (memory, [1, 2])):
        *_, matrix, missing = ax.get_lines()
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert list(lines['key-only'].get_xdata()) == [100, 200]
        assert list(lines['key-only'].get_ydata()) == pytest.approx(values)
        assert matrix.get_label() == 'dot-product, matrix kept'
        assert list(matrix.get_xdata()) == [100] and list(missing.get_xdata()) == [200]
        assert missing.get_color() == matrix.get_color() and missing.get_marker() == 'x'


def test_cost_leaves_out_what_would_take_too_long_or_too_much():
    options = plot_attention_cost.parse_args(['--budget', '1.3', '--patience', '10'])
    rows = [dict(size=224, curve=name, seconds=seconds)
            for name, seconds in (('key-only', 1.), ('fused', 1.), ('matrix', None))]
    assert plot_attention_cost.left_out([], 224, options) == {}
    assert plot_attention_cost.left_out(rows, 448, options) == {
        'fused': 'a pass takes more than 10 s', 'matrix': 'the matrices need more than 1.3 GiB'}
    assert plot_attention_cost.predicted_seconds(rows, 'key-only', 448) == 4
    assert plot_attention_cost.predicted_seconds(rows, 'fused', 448) == 16
    assert plot_attention_cost.predicted_seconds(rows, 'matrix', 448) == 0


def test_cost_budget_is_of_logits_and_weights():
    assert plot_attention_cost.matrix_gib(224, 16) == 2 * 16 * 56**4 * 4 / 2**30
    assert plot_attention_cost.matrix_gib(30, 1) == plot_attention_cost.matrix_gib(32, 1)


def test_cost_of_nothing_missing_needs_no_note():
    assert plot_attention_cost.missing_note([dict(left_out=None)]) == ''


def test_cost_compares_networks_that_differ_in_attention_alone():
    models = {name: plot_attention_cost.build(name) for name in plot_attention_cost.CURVES}
    images = torch.rand(2, 3, 40, 64)
    with torch.no_grad():
        fused, matrix = (models[name](images)[0] for name in ('fused', 'matrix'))
    torch.testing.assert_close(fused, matrix)
    for model in models.values():
        assert not model.training and all(not part.training for part in model.modules())
    kept = [part for part in models['matrix'].modules()
            if isinstance(part, plot_attention_cost.MatrixAttention)]
    assert len(kept) == sum(LinGlo.arch_settings['b0']['depths'])
