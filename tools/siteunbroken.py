"""A hook of mkdocs: marks what must not be broken within a word, which cannot be read then.

Tables too wide for a phone are marked, and their cells know their headings: there, site.css turns
each row into a card. So are the options of command lines, which browsers break after a hyphen.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString
from mkdocs.config.defaults import MkDocsConfig

PHONE = 350.0
"""Width of a page's text on a phone of 390 px, in px."""
LETTER = 6.3
"""Width of a letter in a table there, in px: those of code, and the wider ones of words."""
CELL = 14.0
"""Width of a cell's padding and of the box around code, in px."""
AFTER_INLINE = 15
"""Priority behind that of Markdown's own processor (20), which makes elements of a cell's text."""


OPTION = re.compile(r"((?<!\S)-[\w-]+)")
"""An option of a command line."""


class _Tables(Treeprocessor):
    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            if _width(table) > PHONE:
                _mark(table)


class _Options(Treeprocessor):
    def run(self, root: Element) -> None:
        for code in root.iter("code"):
            _mark_options(code)


class _UnbrokenExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(_Tables(md), "site_tables", AFTER_INLINE)
        md.treeprocessors.register(_Options(md), "site_options", AFTER_INLINE)


def on_config(config: MkDocsConfig) -> None:
    """Look at the tables and the code of every page."""
    config.markdown_extensions.append(_UnbrokenExtension())


def _width(table: Element) -> float:
    """The width that no line break can undercut, in px."""
    columns = zip(*([_longest_word(cell) for cell in row] for row in table.iter("tr")), strict=True)
    return sum(LETTER * max(column) + CELL for column in columns)


def _longest_word(cell: Element) -> int:
    return max(map(len, "".join(cell.itertext()).split()), default=0)


def _mark(table: Element) -> None:
    headings, *rows = table.iter("tr")
    labels = ["".join(heading.itertext()) for heading in headings]
    table.set("data-cards", "")
    for row in rows:
        for label, cell in zip(labels, row, strict=True):
            cell.set("data-label", label)


def _mark_options(code: Element) -> None:
    before, *parts = OPTION.split(code.text or "")
    if parts:
        code.text = AtomicString(before)
    for option, after in zip(parts[::2], parts[1::2], strict=True):
        span = SubElement(code, "span", {"class": "option"})
        span.text, span.tail = AtomicString(option), AtomicString(after)
