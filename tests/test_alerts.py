"""The alert rules fire when they should and not otherwise, and each has its section in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy._address import DOCS as ADDRESS
from deploy.alerts.__main__ import at_address, objects_of
from deploy.dashboards._rows import ROWS
from rpcb_trio._metrics._series import ALL
from tests.promql import faults_of, names_of, selected
from tests.test_promises_page import anchors

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "alerts"
RUNBOOK = ROOT / "docs" / "operating" / "runbook.md"
PAGE = ROOT / "docs" / "operating" / "alerts.md"
GUIDE = ROOT / "docs" / "operating" / "guide.md"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rpcb.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
EXPRESSIONS = [
    *(query.expr for row in ROWS for panel in row.panels for query in panel.queries),
    *(rule["expr"] for rule in RULES),
]
TESTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rpcb.test.yaml").read_text())["tests"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is needed: install prometheus (on Debian, as root: apt-get install prometheus)")
    return subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", "rpcb.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_alerts_fire_when_they_should_and_not_otherwise() -> None:
    tested = promtool("test", "rules", "rpcb.test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def fired(name: str) -> list[dict[str, str]]:
    """The labels of an alert where the unit tests let it fire."""
    checks = [check for test in TESTS for check in test["promql_expr_test"]]
    samples = [sample["labels"] for check in checks for sample in check["exp_samples"]]
    found = [dict(re.findall(r'(\w+)="([^"]*)"', labels)) for labels in samples]
    return [labels for labels in found if labels.get("alertname") == name]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_is_seen_to_fire_and_not_to_fire(rule: dict[str, Any]) -> None:
    assert fired(rule["alert"])
    [test] = [test for test in TESTS if test["name"].startswith(f"{rule['alert']} ")]
    counts = [len(check["exp_samples"]) for check in test["promql_expr_test"]]
    assert counts[0] == 0 < max(counts)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_severity_and_texts_whose_labels_it_has(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description", "runbook_url"}
    assert all(text.endswith(".") for text in (texts["summary"], texts["description"]))
    named = set(re.findall(r"\$labels\.(\w+)", texts["summary"] + texts["description"]))
    assert named
    assert all(named <= labels.keys() for labels in fired(rule["alert"]))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_leads_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    anchor = rule["alert"].lower()
    assert rule["annotations"]["runbook_url"] == f"{ADDRESS}/operating/runbook.html#{anchor}"
    assert anchor in anchors(RUNBOOK)


def test_the_links_of_the_alerts_lead_to_any_address_and_back() -> None:
    rules = (FOLDER / "rpcb.yaml").read_text()
    elsewhere = at_address(rules, "https://docs.example.org/rpcb")
    assert elsewhere == rules.replace(ADDRESS, "https://docs.example.org/rpcb")
    assert ADDRESS not in elsewhere + objects_of(elsewhere)
    assert at_address(elsewhere, ADDRESS) == rules
    several = rules.replace(f"{ADDRESS}/", f"{ADDRESS}/new/", 1)
    assert at_address(several, "https://docs.example.org/rpcb") == elsewhere


def test_the_documentation_lists_the_alerts_with_their_severities() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]\(runbook\.md#(\w+)\) \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    alerts = [(rule["alert"], rule["alert"].lower(), rule["labels"]["severity"]) for rule in ALERTS]
    assert sorted(listed) == sorted(alerts)


def test_the_operating_guide_names_the_alerts_that_wake_somebody() -> None:
    section = GUIDE.read_text().partition("\n## Alert rules\n")[2].partition("\n## ")[0]
    critical = {rule["alert"] for rule in ALERTS if rule["labels"]["severity"] == "critical"}
    assert set(re.findall(r"`(Rpcb\w+)`", section)) == critical


def test_the_runbook_has_no_section_of_an_alert_that_is_not_there() -> None:
    sections = re.findall(r"^### (Rpcb\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in ALERTS)


def test_numbers_of_the_service_stand_in_the_first_group_alone() -> None:
    own, *others = ({rule["record"] for rule in group["rules"] if "record" in rule} for group in GROUPS)
    assert own == {"rpcb:objective:latency_seconds", "rpcb:objective:error_ratio"}
    assert not own & set().union(*others)


def test_rules_and_dashboard_ask_for_series_that_there_are_by_labels_that_they_have() -> None:
    assert {expr: faults for expr in EXPRESSIONS if (faults := faults_of(expr, RECORDED))} == {}


def test_each_series_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = set().union(*map(selected, EXPRESSIONS))
    assert [each.name for each in ALL if not asked & names_of(each)] == []


def test_each_rule_that_records_is_made_use_of() -> None:
    asked = set().union(*map(selected, EXPRESSIONS))
    assert {name for name in asked if ":" in name} == RECORDED
