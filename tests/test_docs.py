"""The documentation does what it says: its programs run, its commands print what is shown."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from benches.pictures import settled_latency_ms
from rpcb_trio import AutoPolicy, FixedPolicy
from tests.blocks import PAGES, ROOT, Block, blocks_of
from tests.rabbitmq import Broker
from tests.running_pages import do_all

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
RUN = [
    page
    for page in PAGES
    if page not in READMES
    and any(not each.mark and "/" not in each.title for each in blocks_of(page, "console", "python"))
]
WORDS_OF_THE_COMMANDS = {
    word
    for path in (ROOT / "src" / "rpcb_trio" / "_commands").rglob("*.py")
    for word in re.findall(r"\w+", path.read_text())
}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def name_of(value: Block | Path) -> str:
    return value.place if isinstance(value, Block) else str(value.relative_to(ROOT))


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, broker: Broker) -> None:
    do_all(page, tmp_path, broker)


def test_every_fence_is_a_block_that_is_understood() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```\w*", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize("block", of("python"), ids=name_of)
def test_a_python_block_is_python(block: Block) -> None:
    compile(block.text, block.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


def test_a_block_that_is_titled_as_a_file_of_the_project_is_that_file() -> None:
    own = [block for block in BLOCKS if "/" in block.title]
    assert own
    for block in own:
        assert (ROOT / block.title).read_text() == block.text, block.place


@pytest.mark.parametrize("block", of("toml"), ids=name_of)
def test_a_toml_block_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("yaml", "json"), ids=name_of)
def test_a_yaml_or_json_block_can_be_read(block: Block) -> None:
    list(yaml.safe_load_all(block.text)) if block.language == "yaml" else json.loads(block.text)


@pytest.mark.parametrize("block", of("console"), ids=name_of)
def test_a_command_names_what_there_is(block: Block) -> None:
    for command, _ in block.commands:
        words = command.partition("  #")[0]
        if re.match(r"rpcb-trio|python -m rpcb_trio", words):
            given = re.findall(r" --(?:no-)?([a-z][a-z0-9-]*)", words)
            flags = {flag.replace("-", "_") for flag in given}
            assert flags - {"help"} <= WORDS_OF_THE_COMMANDS, command
        for target in re.findall(r"^make ([a-z0-9-]+)", words):
            assert target in TARGETS, command
        for extras in re.findall(r"\[([\w,]+)\]", words) if "pip install" in words else ():
            assert set(extras.split(",")) <= EXTRAS, command
        for module in re.findall(r"python -m ((?:benches|rpcb_models)[\w.]*)", words):
            path = (ROOT if module.startswith("benches") else ROOT / "models") / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), command


def stripped(block: Block) -> tuple[str, str, str]:
    """A block without its comments, which differ by language."""
    text = re.sub(r"\s*# .*$", "", block.text, flags=re.MULTILINE)
    return block.language, block.title, text


def test_both_readmes_have_the_same_code() -> None:
    english, chinese = (list(map(stripped, blocks_of(page))) for page in READMES)
    assert english == chinese


def test_the_readme_s_figures_are_those_of_the_simulation() -> None:
    [shown] = re.findall(r"rises to (\d+) ms for ten callers; .* it is (\d+) ms", READMES[0].read_text())
    policies = FixedPolicy(max_batch_size=1), AutoPolicy()
    found = [settled_latency_ms(policy, callers=10) for policy in policies]
    assert found == pytest.approx(list(map(int, shown)), rel=0.02)
    for page in (READMES[1], ROOT / "docs" / "index.md"):
        assert all(number in page.read_text() for number in shown), page


def test_the_readme_is_short() -> None:
    assert len(READMES[0].read_text().splitlines()) < 250
