"""`demo` runs the project's demo with the options as they were given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]

DEMO = '''
def main(*, requests: int = 3, quiet: bool = False):
    """Show it.

    Args:
        requests: How many.
    """
    print(requests, quiet)
'''


@pytest.fixture
def _checkout(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "rpcb_models"]:
        monkeypatch.delitem(sys.modules, name)
    (workplace / "rpcb_models").mkdir()
    (workplace / "rpcb_models" / "__init__.py").touch()
    (workplace / "rpcb_models" / "demo.py").write_text(DEMO)


@pytest.mark.usefixtures("_checkout")
def test_options_reach_the_demo(run_command: Run) -> None:
    assert run_command("demo", "--requests", "7", "--quiet") == Ended(0, "7 True\n", "")


@pytest.mark.usefixtures("_checkout")
def test_help_is_the_demos_own(run_command: Run) -> None:
    ended = run_command("demo", "--help")
    assert ended.code == 0
    assert "--requests" in ended.out
    assert "How many." in ended.out


@pytest.mark.usefixtures("_checkout")
def test_a_wrong_option_is_one_line(run_command: Run) -> None:
    ended = run_command("demo", "--request", "7")
    assert ended.code == 2
    assert "Did you mean --requests?" in ended.line


def test_without_a_checkout_it_says_where_to_run_it(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not (Path(each) / "rpcb_models").exists()])
    for name in [each for each in sys.modules if each.partition(".")[0] == "rpcb_models"]:
        monkeypatch.delitem(sys.modules, name)
    ended = run_command("demo")
    assert ended.code == 2
    assert "run demo in a checkout of the project" in ended.line
