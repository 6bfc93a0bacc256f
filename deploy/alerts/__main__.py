"""Writes prometheusrules.yaml anew, from rpcb.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parent / "rpcb.yaml"
FILE = Path(__file__).parent / "prometheusrules.yaml"
OWN = "rpcb-objectives"
"""The group with an operator's own numbers is an object of its own: a kustomization replaces that alone."""
HEAD = """\
# Made by `python -m deploy.alerts` from rpcb.yaml; change it there.
"""


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
    FILE.write_text(objects_of(RULES.read_text()))
