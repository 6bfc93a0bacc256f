"""`demo` runs the demo of the installed models with its options as they were given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]

DEMO = """
def main(*, output):
    print(output)
"""


@pytest.fixture
def _models(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "rpcb_models"]:
        monkeypatch.delitem(sys.modules, name)
    (workplace / "rpcb_models").mkdir()
    (workplace / "rpcb_models" / "__init__.py").touch()
    (workplace / "rpcb_models" / "demo.py").write_text(DEMO)
    monkeypatch.syspath_prepend(workplace)


@pytest.mark.usefixtures("_models")
def test_options_reach_the_demo(run_command: Run) -> None:
    assert run_command("demo", "--output", "there") == Ended(0, "there\n", "")


@pytest.mark.usefixtures("_models")
def test_a_wrong_option_is_one_line(run_command: Run) -> None:
    ended = run_command("demo", "--outptu", "there")
    assert ended.code == 2
    assert "Did you mean --output?" in ended.line


@pytest.fixture
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rpcb_models", None)


@pytest.mark.usefixtures("_no_models")
def test_without_the_models_its_help_is_shown_and_it_says_what_to_install(run_command: Run) -> None:
    assert "--output" in run_command("demo", "--help").out
    ended = run_command("demo")
    assert ended.code == 2
    assert ended.line.endswith("in a checkout: pip install -e ./models -e '.[demo]'")
