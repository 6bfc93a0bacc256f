"""The code blocks of the documentation, and what the pages say of them.

A block with a title is a file: one of the reader's folder or, with a slash in the title, one of the project.
A comment before a block makes an exception of it:

    <!-- fragment -->        it is a part of a program: it is checked, and not run
    <!-- not run: WHY -->    its commands are checked, and not run
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>fragment|not run: [^\n]+?) -->\n\s*)?"
    r'^(?P<indent> *)```(?P<language>\w*)(?: title="(?P<title>\S+)")?\n'
    r"(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


class Block(msgspec.Struct, frozen=True):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    title: str = ""
    mark: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_fragment(self) -> bool:
        return self.mark == "fragment"

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command of a console block, and the lines that it is said to print."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found and found[-1][0].endswith("\\"):
                found[-1] = (found[-1][0] + "\n" + line, [])
            elif line.strip():
                found[-1][1].append(line)
        return found


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page, in order; all of them where no language is named."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        inside = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("language")) + 1
        block = Block(page, line, match["language"], inside, match["title"] or "", match["mark"] or "")
        if not languages or block.language in languages:
            found.append(block)
    return found
