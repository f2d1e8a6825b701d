# Copyright (c) mmvisionmix authors. All rights reserved.
"""The pages of the repository, as a reader of the repository follows them."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (
    ROOT / 'README.md', ROOT / 'CHANGELOG.md', *ROOT.glob('docs/**/*.md'),
    *ROOT.glob('configs/*/README.md'), *ROOT.glob('projects/*/README.md')))


def text_of(page):
    """The text of a page without its blocks of code."""
    text = (ROOT / page).read_text(encoding='utf-8')
    return re.sub(r'^( *)```.*?^\1```$', '', text, flags=re.DOTALL | re.MULTILINE)


def links_of(page):
    """The relative links of a page, pictures among them."""
    return re.findall(r'\]\((?![a-z]+:)([^)\s]+)\)', text_of(page))


def anchors_of(page):
    """The anchors of a page's headings, as repository pages have them."""
    headings = re.findall(r'^#+ (.*)$', text_of(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES)
def test_relative_links_lead_to_a_file_and_to_a_heading(page):
    broken = []
    for link in links_of(page):
        path, _, anchor = link.partition('#')
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors_of(target.resolve())):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize('page', PAGES)
def test_tools_and_configs_that_pages_name_exist(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    folders = ROOT, (ROOT / page).parent
    named = re.findall(r'(?<![\w/.:])((?:tools|configs|docs|requirements)/[\w./-]+\.\w+)', text)
    assert not [path for path in named if not any((f / path).exists() for f in folders)]


def test_readme_fits_two_screens():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 110
