# Copyright (c) mmvisionmix authors. All rights reserved.
"""The papers' tables beside what is counted here."""
import paper_tables
import pytest
from paper_tables import Line, Row


@pytest.mark.parametrize('name', paper_tables.read_papers())
def test_page_is_fresh_and_every_row_within_its_tolerance(name):
    paper = paper_tables.read_papers()[name]
    counted = paper_tables.count_tables(paper)
    assert not [line for lines in counted.values() for line in lines if line.misses]
    page = paper_tables.PAGE.read_text(encoding='utf-8')
    fresh = paper_tables.insert(page, name, paper_tables.render(paper, counted))
    assert fresh == page, 'run: python tools/analysis_tools/paper_tables.py --write'


def test_row_misses_if_any_figure_is_off():
    assert not Line(Row('a', 1.0, 50.), 1.009, 50.4).misses
    assert Line(Row('a', 1.0, 50.), 1.011, 50.).misses
    assert Line(Row('a', 1.0, 50.), 1.0, 51.).misses
    assert not Line(Row('a', 1.0, 50., tolerance=0.05), 1.0, 51.).misses
    assert not Line(Row('a', 1.0, held=False), 2.0, 50.).misses


def test_line_shows_counted_and_published_figures():
    line = Line(Row('name', 51, 66000), 50.9488, 68737.2)
    assert str(line) == '| name | 50.95M | 51M | -0.1% | 68.74G | 66G | +4.1% |'
    assert str(Line(Row('name', 0.5), 0.50071, 31.4)) == (
        '| name | 0.5007M | 0.5M | +0.1% | 31.4M |  |  |')


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
    assert 'no paper lcka; there are lkca' in capsys.readouterr().err
