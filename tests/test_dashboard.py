"""The dashboard is what its program makes, and its links lead into the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deploy._address import DOCS as ADDRESS
from deploy._address import address_given
from deploy.dashboards.__main__ import FILE
from deploy.dashboards._grafana import dashboard_of
from deploy.dashboards._parts import Panel, Row
from deploy.dashboards._rows import ROWS
from tests.promql import selected
from tests.test_promises_page import anchors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
QUERIES = [query.expr for row in ROWS for panel in row.panels for query in panel.queries]
PANELS = [panel for row in ROWS for panel in row.panels]


def test_the_dashboard_is_what_its_program_makes() -> None:
    assert FILE.read_text() == dashboard_of(ROWS), "run python -m deploy.dashboards"


def test_its_links_lead_to_any_address() -> None:
    made = dashboard_of(ROWS, "https://docs.example.org/rpcb")
    assert made.replace("https://docs.example.org/rpcb", ADDRESS) == FILE.read_text() != made


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ([], None),
        (["--docs=https://docs.example.org/rpcb/"], "https://docs.example.org/rpcb"),
        (["--docs", "http://localhost:8000"], "http://localhost:8000"),
    ],
)
def test_an_address_may_be_given_with_a_slash_at_its_end_or_not_at_all(
    given: list[str], address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["it", *given])
    assert address_given("deploy.alerts") == address


@pytest.mark.parametrize("given", ["docs.example.org", "https://x/#a"])
def test_an_address_is_one_that_a_browser_can_open(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["it", f"--docs={given}"])
    with pytest.raises(SystemExit, match="2"):
        address_given("deploy.alerts")
    assert "is no address; write it as https://docs.example.org/rpcb" in capsys.readouterr().err


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_each_row_asks_a_question_and_leads_to_a_page_that_is_there(row: Row) -> None:
    assert re.search(r"\*\*.+\?\*\*", row.text)
    page, _, anchor = row.page.partition("#")
    source = (DOCS / page).with_suffix(".md")
    assert source.exists()
    assert not anchor or anchor in anchors(source)


def test_the_documentation_lists_the_rows_and_their_questions_in_order() -> None:
    page = (DOCS / "operating" / "alerts.md").read_text()
    listed = re.findall(r"^\| ([^|]+) \| ([^|]+\?) \|$", page, re.MULTILINE)
    questions = [re.findall(r"\*\*(.+?\?)\*\*", row.text)[0] for row in ROWS]
    assert listed == [(row.title, question) for row, question in zip(ROWS, questions, strict=True)]


def test_no_panel_lies_on_another_and_all_have_an_id_of_their_own() -> None:
    made = json.loads(FILE.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in made:
        at = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(at["x"], at["x"] + at["w"])
            for line in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in made}) == len(made)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_each_panel_says_what_it_shows_and_names_its_lines(panel: Panel) -> None:
    assert panel.description.endswith(".")
    assert all("{{" in query.legend for query in panel.queries)
    legends = [query.legend for query in panel.queries]
    assert len(set(legends)) == len(legends)


def test_each_query_can_be_parsed_and_selects_series() -> None:
    assert QUERIES
    assert [expr for expr in QUERIES if not selected(expr)] == []
