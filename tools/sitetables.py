"""A hook of mkdocs: tables too wide for a phone are marked, and their cells know their headings.

On a phone, site.css turns each row of such a table into a card, since a name that is broken within
a word cannot be read.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig

PHONE = 350.0
"""Width of a page's text on a phone of 390 px, in px."""
LETTER = 6.3
"""Width of a letter in a table there, in px: those of code, and the wider ones of words."""
CELL = 14.0
"""Width of a cell's padding and of the box around code, in px."""
AFTER_INLINE = 15
"""Priority behind that of Markdown's own processor (20), which makes elements of a cell's text."""


class _Tables(Treeprocessor):
    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            if _width(table) > PHONE:
                _mark(table)


class _TablesExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.treeprocessors.register(_Tables(md), "site_tables", AFTER_INLINE)


def on_config(config: MkDocsConfig) -> None:
    """Look at the tables of every page."""
    config.markdown_extensions.append(_TablesExtension())


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
