# Copyright (c) mmvisionmix authors. All rights reserved.
"""The papers' tables beside what is counted here."""
import paper_tables
import pytest
from paper_tables import Line, Row

from mmvisionmix.complexity import Complexity


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in paper_tables.read_papers()])
def test_page_is_fresh_and_every_row_within_its_tolerance(name):
    paper = paper_tables.read_papers()[name]
    counted = paper_tables.count_tables(paper)
    assert not [line for lines in counted.values() for line in lines if line.misses]
    page = paper_tables.PAGE.read_text(encoding='utf-8')
    fresh = paper_tables.insert(page, name, paper_tables.render(paper, counted))
    assert fresh == page, 'run: python tools/analysis_tools/paper_tables.py --write'


def test_row_misses_if_any_figure_is_off():
    assert not Line(Row('a', 1.0, 50.), [1.009], [50.4]).misses
    assert Line(Row('a', 1.0, 50.), [1.011], [50.]).misses
    assert Line(Row('a', 1.0, 50.), [1.0], [51.]).misses
    assert not Line(Row('a', 1.0, 50., tolerance=0.05), [1.0], [51.]).misses
    assert not Line(Row('a', 1.0, held=False), [2.0], [50.]).misses
    assert not Line(Row('a'), [1.0], [50.]).misses


def test_multiply_adds_may_have_a_tolerance_of_their_own():
    assert not Line(Row('a', 1.0, 50., macs_tolerance=0.03), [1.0], [51.]).misses
    assert Line(Row('a', 1.0, 50., macs_tolerance=0.03), [1.02], [51.]).misses
    assert Line(Row('a', 1.0, 50., tolerance=0.05, macs_tolerance=0.), [1.0], [51.]).misses


def test_what_rounds_to_the_published_figure_meets_it():
    row = Row('a', 18, 163000, rounding=(0.5, 500))
    assert not Line(row, [18.5], [163500]).misses
    assert Line(row, [18.6], [163000]).misses
    assert not Line(row, [18], [164600]).misses  # within 1%
    assert Line(row, [18], [164700]).misses


def test_row_with_a_deployed_network_is_held_to_that_one():
    assert not Line(Row('a', 1.0, 50., deployed=True), [2.0, 1.0], [90., 50.]).misses
    assert Line(Row('a', 1.0, deployed=True), [1.0, 0.9], [50., 50.]).misses
    assert Line(Row('a', 1.0, 50., deployed=True), [1.0, 1.0], [50., 60.]).misses


def test_line_shows_counted_and_published_figures():
    line = Line(Row('name', 51, 66000), [50.9488], [68737.2])
    assert str(line) == '| name | 50.95M | 51M | -0.1% | 68.74G | 66G | +4.1% |'
    assert str(Line(Row('name', 0.5), [0.50071], [31.4])) == (
        '| name | 0.5007M | 0.5M | +0.1% | 31.4M |  |  |')
    assert str(Line(Row('name', 10, deployed=True), [11, 9.5], [4000, 3000])) == (
        '| name | 11M | 9.5M | 10M | -5.0% | 4G | 3G |  |  |')


def test_table_has_a_cell_under_every_heading(monkeypatch):
    counts = {False: Complexity(4, 1, 30), True: Complexity(3, 1, 20)}
    sizes = []

    def count_complexity(cfg, counting, deployed, size):
        sizes.append(size)
        return counts[deployed]

    monkeypatch.setattr(paper_tables, 'count_complexity', count_complexity)
    row = dict(config='lkca_b_cifar10', without_auxiliary_head=True)
    for deployed, parameters in ((False, [3e-6]), (True, [3e-6, 2e-6])):
        table = dict(title='t', note='n', rows=[row], deployed=deployed, rounding=[0.5, 500])
        paper = dict(title='p', tables=[table])
        counted = paper_tables.count_tables(paper)
        assert counted['t'][0].parameters == parameters
        assert counted['t'][0].row.rounding == [0.5, 500]
        heading, rule, line = paper_tables.render(paper, counted).splitlines()[-3:]
        assert heading.count('|') == rule.count('|') == line.count('|')
        assert heading.count('deployed') == 2 * deployed
    paper_tables.count_tables(dict(tables=[dict(title='t', rows=[row], size=[512, 2048])]))
    assert sizes == [None] * 3 + [(512, 2048)]


def test_text_goes_between_the_marks_of_its_paper():
    page = 'a\n<!-- begin x: paper_tables.py --write -->old<!-- end x -->\nb'
    assert paper_tables.insert(page, 'x', 'new') == (
        'a\n<!-- begin x: paper_tables.py --write -->\n\nnew\n\n<!-- end x -->\nb')
    with pytest.raises(ValueError, match='lacks the marks'):
        paper_tables.insert(page, 'y', 'new')


def test_unknown_paper_is_answered_with_the_known_ones(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['paper_tables.py', 'lcka'])
    with pytest.raises(SystemExit):
        paper_tables.main()
    assert 'no paper lcka; there are dualformer, linglo, lkca, mcganet' in capsys.readouterr().err
