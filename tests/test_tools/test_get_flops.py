# Copyright (c) mmvisionmix authors. All rights reserved.
"""Counts of a config from the command line: ours and others', whole and in parts."""
import re

import get_flops
import paper_tables
import pytest

from mmvisionmix import config_path


def run(capsys, *args):
    """What the tool prints: its heading, and parameters and millions of MACs of each part."""
    get_flops.main([str(arg) for arg in args])
    out = capsys.readouterr().out
    scale = {'M': 1., 'G': 1e3}
    lines = re.findall(r'^\| (.+?) +\| ([\d,]+) +\| ([\d.]+) (.) +\|$', out, re.MULTILINE)
    parts = {part: (int(parameters.replace(',', '')), float(macs) * scale[unit])
             for part, parameters, macs, unit in lines}
    assert 'MACs are multiply-adds; FLOPs are twice as many.' in out
    return out, parts


@pytest.mark.parametrize('paper, config, size', [
    ('lkca', 'lkca-2.69m_1xb128-100e_cifar10', '32 x 32'),
    ('linglo', 'linglo-b0_retinanet_8xb2-1x_coco', '800 x 1280')])
def test_counts_are_those_of_the_papers_tables(capsys, paper, config, size):
    row = next(row for part in paper_tables.read_papers()[paper]['tables']
               for row in paper_tables.rows_of(part) if row.config == config)
    line = paper_tables.count(row)
    assert row.held and not line.misses
    options = ['--counting', row.counting, *['--deploy'] * row.deployed]
    out, parts = run(capsys, config_path(config), *options)
    form = 'deployed, ' * row.deployed + f'counting {row.counting}'
    assert f'image of {size} pixels, {form}\n' in out
    assert parts['whole network'] == (
        round(line.parameters[-1] * 1e6), pytest.approx(line.macs[-1], rel=1e-3))
    for whole, backbone, rest in zip(*(
            parts[part] for part in ('whole network', 'backbone', 'neck and head'))):
        assert backbone + rest == pytest.approx(whole, rel=1e-4) and 0 < backbone < whole


def test_shape_and_options_change_what_is_counted(capsys):
    """LinGlo and Semantic FPN grow with the image's area; an auxiliary head stands apart."""
    config = config_path('fpn_linglo_b0_ade20k')
    _, small = run(capsys, config, '--shape', 128)
    out, large = run(capsys, config, '--shape', 128, 256, '--cfg-options',
                     'model.decode_head.num_classes=10')
    assert 'image of 128 x 256 pixels' in out
    assert large['backbone'] == (small['backbone'][0],
                                 pytest.approx(2 * small['backbone'][1], rel=1e-2))
    assert small['whole network'][0] - large['whole network'][0] == 140 * (128 + 1)
    _, parts = run(capsys, config_path('upernet_lkca_s_ade20k'), '--shape', 64)
    assert parts.pop('whole network')[0] == sum(number for number, _ in parts.values())
    assert parts['auxiliary head, in training only'][1] == 0


@pytest.mark.parametrize('args, message', [
    (['nowhere.py'], 'config nowhere.py does not exist'),
    (['mmpretrain::lenet/lenet5_mnist.py'], 'give --shape HEIGHT WIDTH'),
    (['mmdet::detr/detr_r50_8xb2-150e_coco.py', '--shape', '64'],
     'the network does not run on an image alone')])
def test_what_cannot_be_counted_is_said_in_a_line(args, message):
    with pytest.raises(SystemExit, match=message) as caught:
        get_flops.main(args)
    assert '\n' not in str(caught.value)
