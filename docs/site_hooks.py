# Copyright (c) mmvisionmix authors. All rights reserved.
"""Hooks of mkdocs.yml: the site holds README.md and all files that its pages link to.

Pages link to each other, to configs and to tools by relative paths, as a repository wants it. In
the site README.md is the home page, and what lies outside docs/ is under repository/, at its own
path: pages (*.md) rendered, other files as they are.
"""
import os
import posixpath
import re
from pathlib import Path
from typing import Dict

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# What docstrings have of reStructuredText, as it comes out of Markdown.
MARKUP = (
    (r':[a-z]+:(?=<code>)', ''), (r'::</p>', ':</p>'),
    (r'<code>([^<]*?)\s*&lt;(https://[^<]*?)&gt;</code>_', r'<a href="\2">\1</a>'))
RELATIVE_LINK = re.compile(r'(?<=\]\()(?![a-z]+:)([^)#\s]+)')


def site_path(path: str) -> str:
    """The path below the site's sources of a path below the repository."""
    if path == 'README.md':
        return 'index.md'
    inside = posixpath.relpath(path, 'docs')
    return posixpath.join('repository', path) if inside.startswith('..') else inside


def targets(path: str, text: str) -> Dict[str, str]:
    """The files that a page of the repository links to, by the link."""
    folder = posixpath.dirname(path)
    links = {link: posixpath.normpath(posixpath.join(folder, link))
             for link in RELATIVE_LINK.findall(text)}
    return {link: target for link, target in links.items() if (ROOT / target).is_file()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md, and from page to page what is linked to."""
    pending = ['README.md', *(f'docs/{page.src_uri}' for page in files.documentation_pages())]
    seen = set(pending)
    while pending:
        path = pending.pop()
        if not files.get_file_from_path(site_path(path)):
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
        if path.endswith('.md'):
            found = set(targets(path, (ROOT / path).read_text(encoding='utf-8')).values())
            pending += sorted(found - seen)
            seen |= found
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links lead to where the site has their targets; unknown ones are left to fail."""
    path = os.path.relpath(page.file.abs_src_path, ROOT).replace(os.sep, '/')
    folder = posixpath.dirname(page.file.src_uri)
    moved = {link: posixpath.relpath(site_path(target), folder or '.')
             for link, target in targets(path, markdown).items()}
    return RELATIVE_LINK.sub(lambda match: moved.get(match[1], match[1]), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the markup of docstrings on API pages right."""
    if page.file.src_uri.startswith('api/'):
        for pattern, replacement in MARKUP:
            html = re.sub(pattern, replacement, html)
    return html
