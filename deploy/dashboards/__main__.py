"""Writes the dashboard anew."""

from __future__ import annotations

from pathlib import Path

from deploy.dashboards._grafana import dashboard_of
from deploy.dashboards._rows import ROWS

FILE = Path(__file__).parent / "rpcb.json"

if __name__ == "__main__":
    FILE.write_text(dashboard_of(ROWS))
