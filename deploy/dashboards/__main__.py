"""Writes the dashboard anew; with `--docs URL` for the links to the documentation."""

from __future__ import annotations

from pathlib import Path

from deploy._address import DOCS, address_given
from deploy.dashboards._grafana import dashboard_of
from deploy.dashboards._rows import ROWS

FILE = Path(__file__).parent / "rpcb.json"

if __name__ == "__main__":
    FILE.write_text(dashboard_of(ROWS, address_given("deploy.dashboards") or DOCS))
