"""The documentation is a site that is built strictly and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Loaded(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs).get(LOADING.get(tag, ""))
        if found and dict(attrs).get("rel") not in ("canonical", "next", "prev"):
            self.found.append(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_a_page_loads_only_what_is_in_the_site(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]  # whose links are absolute
    assert len(pages) > 4
    for page in pages:
        for loaded in Loaded(page.read_text()).found:
            assert (page.parent / loaded.partition("?")[0]).exists(), f"{page.relative_to(site)}: {loaded}"


def test_no_style_sheet_loads_anything_from_elsewhere(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def test_the_site_can_be_searched_without_a_server(site: Path) -> None:
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")
    assert "assets/iframe-worker.js" in (site / "promises.html").read_text()


MODULES = [
    path.stem for path in (ROOT / "docs" / "reference").glob("*.md") if path.stem not in ("api", "settings")
]


@pytest.mark.parametrize("module", ["", *sorted(MODULES)])
def test_the_reference_has_every_public_name(module: str, site: Path) -> None:
    name = f"rpcb_trio.{module}".rstrip(".")
    page = (site / "reference" / f"{module or 'api'}.html").read_text()
    missing = [each for each in import_module(name).__all__ if f'id="{name}.{each}"' not in page]
    assert missing == []
