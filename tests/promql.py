"""Reads queries in PromQL: which series they select, and by which labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import promql_parser as promql

from rpcb_trio._metrics._series import ALL, Series

VARIABLES = {"$__rate_interval": "5m", "$queue": ".*", "$instance": ".*"}
"""What Grafana puts for the variables of a dashboard, with all chosen."""


def filled_in(expr: str) -> str:
    """A query of a dashboard as Grafana sends it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def _parts(expr: str) -> list[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(promql.parse(filled_in(expr)), found.append)
    return found


def selected(expr: str) -> set[str]:
    """The names of the series that a query selects."""
    return {name for part in _parts(expr) for name in _names(part)}


def _names(part: promql.Expr) -> Iterator[str]:
    if isinstance(part, promql.MatrixSelector):
        part = part.vector_selector
    if isinstance(part, promql.VectorSelector):
        assert part.name, f"a series without a name: {part}"
        yield part.name


def labels_used(expr: str) -> set[str]:
    """The labels that a query selects, groups and joins by."""
    return {label for part in _parts(expr) for label in _labels(part)}


def _labels(part: promql.Expr) -> Iterator[str]:
    match part:
        case promql.MatrixSelector():
            yield from _labels(part.vector_selector)
        case promql.VectorSelector():
            yield from (matcher.name for matcher in part.matchers.matchers)
        case promql.AggregateExpr() if part.modifier is not None:
            yield from part.modifier.labels
        case promql.BinaryExpr() if part.modifier is not None and part.modifier.matching is not None:
            yield from part.modifier.matching.labels


TARGET = {"job", "instance"}
"""The labels that Prometheus gives whatever it scrapes."""

OTHERS = {
    "up": set[str](),
    "process_start_time_seconds": set[str](),
    "rabbitmq_detailed_queue_messages_ready": {"vhost", "queue"},
    "rabbitmq_detailed_queue_messages_unacked": {"vhost", "queue"},
    "rabbitmq_detailed_queue_consumers": {"vhost", "queue"},
}
"""Series that come from elsewhere: from Prometheus itself, from prometheus_client, and from RabbitMQ."""


def names_of(series: Series) -> set[str]:
    """The names by which queries select a series."""
    if series.kind == "histogram":
        return {f"{series.name}_{part}" for part in ("bucket", "sum", "count")}
    return {series.name}


def exported() -> dict[str, set[str]]:
    """The labels of each series that a scrape may find."""
    return OTHERS | {name: {*series.labels, "le"} for series in ALL for name in names_of(series)}


def faults_of(expr: str, recorded: Collection[str]) -> list[str]:
    """What a query asks for that is not there: series, or labels that none of its series has.

    Args:
        expr: the query.
        recorded: series that rules record, by queue.
    """
    known = exported() | {name: {"queue"} for name in recorded}
    unknown = selected(expr) - known.keys()
    labels = TARGET.union(*(known.get(name, ()) for name in selected(expr)))
    return sorted(unknown | (labels_used(expr) - labels))
