"""A hook of mkdocs: what lies outside of docs/ becomes pages of the site, too.

The README is its home page, each README of an example is a page, and so is each source file of an
example. Links lead to the same file on the site as in the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MOVED = {
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
"""Pages that have another name on the site than in the repository."""
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
SOURCE_PAGE = """---
search: {{exclude: true}}
---
# {name}

```python
{text}```
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs_dir does not have, and move those that MOVED names."""
    files.remove(files.src_uris["README.md"])
    for path in (*map(Path, MOVED), *_examples("**/*.md")):
        uri = _site_path(path.as_posix())
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for path in _examples("*/*.py"):
        text = SOURCE_PAGE.format(name=path.as_posix(), text=(ROOT / path).read_text())
        files.append(File.generated(config, _site_path(path.as_posix()), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to pages of the site."""
    here = posixpath.dirname(_repository_path(page.file.src_uri))
    there = posixpath.dirname(page.file.src_uri) or "."

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, link[1]))
        if not (ROOT / target).exists():
            return link[0]  # not a link but code
        return f"]({posixpath.relpath(_site_path(target), there)}"

    return LINK.sub(on_site, markdown)


def _examples(pattern: str) -> list[Path]:
    """Files of the examples, relative to the repository."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / "examples").glob(pattern))


def _site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path.startswith("examples/") and path.endswith(".py"):
        return f"{path}.md"
    return MOVED.get(path, path.removeprefix("docs/"))


def _repository_path(uri: str) -> str:
    """Where a page of the site is in the repository."""
    moved = {there: here for here, there in MOVED.items()}
    return moved.get(uri, uri if uri.startswith("examples/") else f"docs/{uri}")
