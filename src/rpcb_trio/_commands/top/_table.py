"""What `top` shows: a table of workers and one of queues, as wide as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rpcb_trio._events import QueueSummary, WorkerSummary
from rpcb_trio._instruments import Condition

BARS = "▁▂▃▄▅▆▇█"
GAP = 2
"""Columns of a terminal between two of a table."""

LEAST_WORKERS = 3
"""Rows for workers, however low the window is."""

MOST_REASONS = 3

STYLES = {
    Condition.CONSUMING: "green",
    Condition.DRAINING: "cyan",
    Condition.WARMING_UP: "yellow",
    Condition.STOPPED: "dim",
}
"""All others are bad."""


class Column(NamedTuple):
    """One column of the table of workers."""

    title: str
    width: int
    rank: int
    """Those with the lowest are shown where there is no room for all."""
    cell: Callable[[WorkerSummary], str | Text]
    is_text: bool = False


def _condition(worker: WorkerSummary) -> Text:
    if worker.gone and worker.condition is not Condition.STOPPED:
        return Text(f"gone {_age(worker.seconds)}", style="bold red")
    style = STYLES.get(worker.condition, "bold red")
    return Text(f"{worker.condition} {_age(worker.seconds)}", style=style)


def _failed(worker: WorkerSummary) -> Text:
    return Text(str(worker.failed), style="bold red" if worker.failed_per_second else "")


def _bars(worker: WorkerSummary) -> str:
    """The last batches, each as high as it is full."""
    most = max(worker.max_batch_size, 1)
    return "".join(BARS[min(len(BARS) - 1, size * len(BARS) // (most + 1))] for size in worker.last_sizes)


def _trigger(worker: WorkerSummary) -> str:
    return max(worker.triggers, key=worker.triggers.__getitem__, default="")


COLUMNS = (
    Column("worker", 10, 0, lambda each: clean(each.worker), is_text=True),
    Column("queue", 14, 11, lambda each: clean(each.queue), is_text=True),
    Column("process", 20, 13, lambda each: clean(f"{each.host}:{each.pid}"), is_text=True),
    Column("state", 15, 1, _condition, is_text=True),
    Column("req/s", 5, 2, lambda each: number(each.requests_per_second)),
    Column("batch/s", 7, 14, lambda each: number(each.batches_per_second)),
    Column("size", 4, 3, lambda each: number(each.mean_batch_size)),
    Column("last batches", 24, 12, _bars, is_text=True),
    Column("closed by", 9, 15, _trigger, is_text=True),
    Column("wait", 5, 4, lambda each: number(each.mean_wait_ms)),
    Column("infer", 5, 5, lambda each: number(each.mean_service_ms)),
    Column("p99", 5, 6, lambda each: number(each.p99_total_ms)),
    Column("waits", 5, 7, lambda each: str(each.waiting)),
    Column("held", 4, 9, lambda each: str(each.held)),
    Column("fail", 4, 8, _failed),
    Column("mem", 5, 10, lambda each: memory(each.rss)),
    Column("device", 10, 16, lambda each: clean(each.device or ""), is_text=True),
    Column("policy", 12, 17, lambda each: clean(each.policy), is_text=True),
    Column("start", 8, 18, lambda each: clean(each.start), is_text=True),
)

QUEUE_NAME, QUEUE_COLUMN = 12, 7
"""The least width of a queue's name, and that of all else."""

QUEUE_COLUMNS: tuple[tuple[str, Callable[[QueueSummary], str]], ...] = (
    ("ready", lambda each: "-" if each.ready is None else str(each.ready)),
    ("workers", lambda each: str(each.workers)),
    ("req/s", lambda each: number(each.requests_per_second)),
    ("waits", lambda each: str(each.waiting)),
    ("held", lambda each: str(each.held)),
    ("fail", lambda each: str(each.failed)),
)
"""Of the table of queues, beside their names; the last ones go where there is no room."""

ORDERS: dict[str, tuple[str, Callable[[WorkerSummary], float]]] = {
    "r": ("rate", lambda each: each.requests_per_second or 0.0),
    "l": ("latency", lambda each: each.p99_total_ms or 0.0),
    "w": ("waiting", lambda each: each.waiting),
    "f": ("failed", lambda each: each.failed),
    "m": ("memory", lambda each: each.rss or 0),
}
"""Keys that sort, the highest first; any other key sorts by name."""


def page(
    workers: Sequence[WorkerSummary],
    queues: Sequence[QueueSummary],
    title: str,
    *,
    width: int,
    height: int | None = None,
    order: str = "",
    foot: str = "",
) -> Group:
    """All of it; of more workers than `height` has lines for, the first ones."""
    workers = in_order(workers, order)
    reasons = [_reason(each) for each in workers if each.reason and not each.gone][:MOST_REASONS]
    others = 6 + len(queues) + len(reasons)
    room = len(workers) if height is None else max(LEAST_WORKERS, height - others)
    parts: list[RenderableType] = [_line(title, "bold"), _worker_table(workers[:room], width)]
    if len(workers) > room:
        parts.append(_line(f"and {len(workers) - room} more workers", "dim"))
    parts += [_line(each, "red") for each in reasons]
    parts += [Text(), _queue_table(queues, width)]
    if foot:
        parts += [Text(), _line(foot, "dim")]
    return Group(*parts)


def in_order(workers: Sequence[WorkerSummary], order: str) -> list[WorkerSummary]:
    """Workers as a key has them sorted."""
    return sorted(workers, key=ORDERS[order][1], reverse=True) if order in ORDERS else list(workers)


def _worker_table(workers: Sequence[WorkerSummary], width: int) -> Table:
    columns = _fitting(width)
    table = _table()
    for column in columns:
        table.add_column(
            column.title,
            justify="left" if column.is_text else "right",
            no_wrap=True,
            min_width=len(column.title),
            max_width=column.width,
            overflow="ellipsis",
        )
    for worker in workers:
        cells = [column.cell(worker) for column in columns]
        table.add_row(*cells, style="dim" if worker.gone else None)
    return table


def _fitting(width: int) -> list[Column]:
    chosen, left = set[str](), width
    for column in sorted(COLUMNS, key=lambda each: each.rank):
        left -= column.width + GAP
        if left < -GAP:
            break
        chosen.add(column.title)
    return [column for column in COLUMNS if column.title in chosen]


def _queue_table(queues: Sequence[QueueSummary], width: int) -> Table:
    columns = QUEUE_COLUMNS[: max(0, (width - QUEUE_NAME) // (QUEUE_COLUMN + GAP))]
    table = _table()
    table.add_column("queue", no_wrap=True, max_width=30, overflow="ellipsis")
    for title, _ in columns:
        table.add_column(title, justify="right", min_width=QUEUE_COLUMN, no_wrap=True)
    for each in queues:
        table.add_row(clean(each.queue), *(cell(each) for _, cell in columns))
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="reverse")


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _reason(worker: WorkerSummary) -> str:
    return clean(f"{worker.worker} ({worker.host}:{worker.pid}): {worker.condition}: {worker.reason}")


def clean(text: str) -> str:
    """Without what a terminal would obey: whoever may publish events says what is in them."""
    return "".join(each if each.isprintable() else "?" for each in text)


def number(value: float | None) -> str:
    """Three digits, in five columns at most."""
    if value is None:
        return "-"
    if value >= 99_999.5:  # noqa: PLR2004 - five digits
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2  # noqa: PLR2004 - three digits
    return f"{value:.{digits}f}"


def memory(size: int | None) -> str:
    """In MiB or GiB."""
    if size is None:
        return "-"
    mebibytes = size / 2**20
    return f"{mebibytes:.0f}M" if mebibytes < 1000 else f"{mebibytes / 1024:.1f}G"  # noqa: PLR2004 - three digits


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"
