"""Writes prometheusrules.yaml anew, from rpcb.yaml; with `--docs URL` the links to the runbook in both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from deploy._address import address_given

RULES = Path(__file__).parent / "rpcb.yaml"
FILE = Path(__file__).parent / "prometheusrules.yaml"
OWN = "rpcb-objectives"
"""The group with an operator's own numbers is an object of its own: a kustomization replaces that alone."""
HEAD = """\
# Made by `python -m deploy.alerts` from rpcb.yaml; change it there.
"""


LINK = re.compile(r"runbook_url: (\S+)/operating/runbook\.html#")


def at_address(rules: str, address: str) -> str:
    """The rules, with all links to the documentation at that address."""
    present = sorted(set(LINK.findall(rules)), key=len, reverse=True)  # one may begin as another does
    return re.sub("|".join(map(re.escape, present)), lambda _: address, rules)


def objects_of(rules: str) -> str:
    """The groups as PrometheusRules, in YAML."""
    groups = yaml.safe_load(rules)["groups"]
    own = [group for group in groups if group["name"] == OWN]
    others = [group for group in groups if group["name"] != OWN]
    objects = [_rule("rpcb-objectives", own), _rule("rpcb", others)]
    return HEAD + yaml.safe_dump_all(objects, sort_keys=False, width=1000)


def _rule(name: str, groups: list[Any]) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    rules = RULES.read_text()
    address = address_given("deploy.alerts")
    if address is not None:
        rules = at_address(rules, address)
        RULES.write_text(rules)
    FILE.write_text(objects_of(rules))
