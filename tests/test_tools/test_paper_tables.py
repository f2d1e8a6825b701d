# Copyright (c) mmvisionmix authors. All rights reserved.
"""The papers' tables beside what is counted here."""
import paper_tables
import pytest
from paper_tables import Line, Row

HELD = Row('name', 1.0, 50.)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in paper_tables.read_papers()])
def test_page_is_fresh_and_every_row_within_its_tolerance(name):
    paper = paper_tables.read_papers()[name]
    counted = paper_tables.count_tables(paper)
    assert not [line for lines in counted.values() for line in lines if line.misses]
    page = paper_tables.PAGE.read_text(encoding='utf-8')
    fresh = paper_tables.insert(page, name, paper_tables.render(paper, counted))
    assert fresh == page, 'run: python tools/analysis_tools/paper_tables.py --write'


@pytest.mark.parametrize('row, parameters, macs, misses', [
    (HELD, [1.009], [50.4], False),
    (HELD, [1.011], [50.], True),
    (HELD, [1.0], [51.], True),
    (HELD._replace(tolerance=0.05), [1.0], [51.], False),
    (HELD._replace(held=False), [2.0], [50.], False),
    (Row('name'), [1.0], [50.], False),
    (HELD._replace(macs_tolerance=0.03), [1.0], [51.], False),
    (HELD._replace(tolerance=0.05, macs_tolerance=0.), [1.0], [51.], True),
    # What rounds to the published figure, or is within 1%, meets it.
    (Row('name', 18, 163000, rounding=(0.5, 500)), [18.5], [163500], False),
    (Row('name', 18, 163000, rounding=(0.5, 500)), [18.6], [163000], True),
    # A deployed network is the one that is held.
    (HELD._replace(deployed=True), [2.0, 1.0], [90., 50.], False),
    (HELD._replace(deployed=True), [1.0, 1.0], [50., 60.], True)])
def test_row_misses_if_any_figure_is_off(row, parameters, macs, misses):
    assert Line(row, parameters, macs).misses == misses
