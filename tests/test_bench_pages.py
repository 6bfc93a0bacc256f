"""Every bench is found by who reads of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHES = sorted(
    {
        name
        for path in (ROOT / "benches").rglob("*.py")
        for name in re.findall(r'^"""`python -m benches\.(\w+)`:', path.read_text())
    }
)


def test_there_are_benches() -> None:
    assert {"echo", "gateway", "policy", "readme", "soak", "table"} <= set(BENCHES)


@pytest.mark.parametrize("bench", BENCHES)
def test_the_page_of_the_benches_tells_of_each(bench: str) -> None:
    page = (ROOT / "benches" / "README.md").read_text()
    [title] = re.findall(rf"^## (`python -m benches\.{bench}`: .*)$", page, re.MULTILINE)
    anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    assert f"| [`{bench}`](#{anchor}) |" in page
