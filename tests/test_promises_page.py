"""What docs/promises.md says is so: its tests exist, its log lines and exit codes are the code's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import ControlSettings, HealthSettings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text()
EXIT_CODES = (ROOT / "docs" / "operating" / "exit-codes.md").read_text()
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

SIGNALLED = {128 + signum for signum in (6, 9, 11)}
"""How a process ends that abort, kill or a segmentation fault has ended; no code of ours."""

TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PLACEHOLDER = re.compile(r"%[-.\d]*[a-z]")


def sections(page: str) -> dict[str, str]:
    """The text of each section, by its heading."""
    _, *found = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of each row of a section's tables, without their headings."""
    found = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| [A-Z]?\d+ \|", line)]
    return [[cell.strip() for cell in row] for row in found]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_two_promises_have_one_name() -> None:
    named = [row[0] for row in rows(PAGE) if not row[0].isdecimal()]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = TEST.findall(page.read_text())
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []


def test_every_fault_has_its_proof_and_every_proof_its_fault() -> None:
    proven = 0
    for text in sections(PAGE).values():
        faults = [row[0] for row in rows(text) if not row[0].isdecimal()]
        proofs = re.findall(r"^- ([A-Z]\d+): `tests/", text, re.MULTILINE)
        assert proofs == faults
        assert len(set(faults)) == len(faults)
        proven += len(proofs)
    assert proven > 60


def test_the_exit_codes_are_the_codes_own_and_all_of_them() -> None:
    listed = [int(row[0]) for row in rows(EXIT_CODES)]
    assert listed == sorted(ExitCode)
    mentioned = {int(code) for code in re.findall(r"exit (\d+)", PAGE)}
    mentioned |= {int(row[2]) for row in rows(sections(PAGE)["Refusals at start"])}
    assert mentioned <= {*ExitCode} | SIGNALLED
    assert all(re.search(rf"\b{code}\b", EXIT_CODES) for code in SIGNALLED)


def literals(tree: ast.AST) -> Iterator[str]:
    """The parts of a module's strings that are always the same."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from PLACEHOLDER.split(node.value)


@cache
def words_of_the_code() -> str:
    sources = [path for folder in ("src", "models") for path in (ROOT / folder).rglob("*.py")]
    return "\0".join(text for path in sources for text in literals(ast.parse(path.read_text())))


def test_every_line_it_shows_is_one_that_the_code_writes() -> None:
    shown = [span for span in spans(PAGE) if "…" in span]
    for text in sections(PAGE).values():
        shown += [span for row in rows(text) if not row[0].isdecimal() for span in spans(row[-1])]
    lines = [line for line in shown if not line.startswith(("/", "--")) and line != "x-death"]
    assert len(lines) > 60
    parts = {part for line in lines for part in line.split("…")}
    assert [part for part in parts if part not in words_of_the_code()] == []


def test_every_line_of_the_page_on_the_log_is_one_that_the_code_writes() -> None:
    page = (ROOT / "docs" / "operating" / "log.md").read_text()
    lines = re.findall(r"^\| `([^`]+)` \| (?:info|warning|error)", page, re.MULTILINE)
    assert len(lines) > 10
    parts = {part.strip(" ();:") for line in lines for part in line.split("…")}
    assert [part for part in parts if part not in words_of_the_code()] == []


@pytest.mark.parametrize("page", ["promises.md", "how-to/security.md"])
def test_every_flag_a_page_names_is_a_setting(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    settings = {field.name for kind in (Settings, HealthSettings, ControlSettings) for field in fields(kind)}
    named = {flag.replace("-", "_") for flag in re.findall(r"[ `]--([a-z-]+)", text)}
    assert len(named) > 5
    assert named <= settings


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    linked = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    for link in linked:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
