# Copyright (c) mmvisionmix authors. All rights reserved.
"""Hooks of mkdocs.yml: the site holds README.md and all files that its pages link to.

Pages link to each other, to configs and to tools by relative paths, as a repository wants it. In
the site README.md is the home page, and what lies outside docs/ is below repository/: pages
rendered, other files as they are.
"""
import posixpath
import re
from pathlib import Path
from typing import Dict

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
RELATIVE_LINK = re.compile(r'(?<=\]\()(?![a-z]+:)([^)#\s]+)')


def site_path(path: str) -> str:
    """The path in the site of a file of the repository, by its path from the root."""
    if path == 'README.md':
        return 'index.md'
    return path[len('docs/'):] if path.startswith('docs/') else f'repository/{path}'


def targets(path: str) -> Dict[str, str]:
    """The files that a page of the repository links to, by the link."""
    links = RELATIVE_LINK.findall((ROOT / path).read_text(encoding='utf-8'))
    found = {link: posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
             for link in links}
    return {link: target for link, target in found.items() if (ROOT / target).is_file()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md, and from page to page what is linked to."""
    pending = ['README.md', *(f'docs/{page.src_uri}' for page in files.documentation_pages())]
    seen = set(pending)
    while pending:
        path = pending.pop()
        if not files.get_file_from_path(site_path(path)):
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
        new = set(targets(path).values()) - seen if path.endswith('.md') else set()
        pending += sorted(new)
        seen |= new
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links lead to where the site has their targets; unknown ones are left to fail."""
    moved = targets(Path(page.file.abs_src_path).relative_to(ROOT).as_posix())
    folder = posixpath.dirname(page.file.src_uri) or '.'

    def move(match: re.Match) -> str:
        target = moved.get(match[1])
        return match[1] if target is None else posixpath.relpath(site_path(target), folder)

    return RELATIVE_LINK.sub(move, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Drops the roles of reStructuredText, which docstrings have, from API pages."""
    if not page.file.src_uri.startswith('api/'):
        return html
    html = re.sub(
        r'<code>([^<]*?)\s*&lt;(https://[^<]*?)&gt;</code>_', r'<a href="\2">\1</a>', html)
    return re.sub(r':[a-z]+:(?=<code>)', '', html).replace('::</p>', ':</p>')
