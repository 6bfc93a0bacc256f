"""The Python of the documentation passes mypy's strict rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

from tests.blocks import PAGES, ROOT, Block, blocks_of

UNTYPED = re.compile(r"^(?:from|import) (?:celery|django|pika)\b", re.MULTILINE)
"""Libraries that carry no types, so that strict rules can't be kept beside them."""


def as_module(block: Block) -> str:
    """The text of a block, with the line numbers of its page.

    What awaits outside a function gets one. Tests may go without annotations, as is usual.
    """
    if block.title.startswith("test_"):
        return "# mypy: allow-untyped-defs, allow-incomplete-defs" + "\n" * block.line + block.text
    try:
        compile(block.text, block.place, "exec")
    except SyntaxError:
        return "\n" * (block.line - 1) + "async def fragment() -> None:\n" + indent(block.text, "    ")
    return "\n" * block.line + block.text


def write_modules(page: Path, folder: Path) -> None:
    """A module for each block; those of one page import each other by the names that the page gives them."""
    prefix = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
    blocks = [each for each in blocks_of(page, "python") if not UNTYPED.search(each.text)]
    own = {each.title.removesuffix(".py") for each in blocks if each.title and "/" not in each.title}
    for block in blocks:
        name = Path(block.title).stem or f"line_{block.line}"
        text = re.sub(
            r"^( *(?:from|import)) (\w+)",
            lambda found: f"{found[1]} {prefix}_{found[2]}" if found[2] in own else found[0],
            as_module(block),
            flags=re.MULTILINE,
        )
        (folder / f"{prefix}_{name}.py").write_text(text)


def test_every_program_of_the_documentation_is_strictly_typed(tmp_path: Path) -> None:
    for page in PAGES:
        write_modules(page, tmp_path)
    modules = sorted(map(str, tmp_path.glob("*.py")))
    assert len(modules) > 20
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *modules],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
