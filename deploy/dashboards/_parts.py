"""What a dashboard is made of: rows, panels, queries. None of it knows Grafana."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """How a panel looks."""

    LINES = "lines"
    STACK = "stack"
    HEAT = "heat"
    NUMBER = "number"
    STATES = "states"
    TABLE = "table"


class Query(msgspec.Struct, frozen=True):
    """A query in PromQL, and the name of its lines."""

    expr: str
    legend: str


class Panel(msgspec.Struct, frozen=True):
    """A panel; `unit` is a unit of Grafana, and the whole width has 24 `columns`."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = Kind.LINES
    columns: int = 8


class Row(msgspec.Struct, frozen=True):
    """A row: what to look at, what it means (Markdown), and a page of the documentation."""

    title: str
    text: str
    page: str
    panels: Sequence[Panel]
