"""The tables of `top`: workers with the columns that there is room for, and queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from rpcb_trio._events import QueueSummary, WorkerSummary

BARS = "▁▂▃▄▅▆▇█"
GAP = 1
"""Columns of a terminal between two of a table."""

LONGEST_NAME = 18
"""Of a worker in the table; longer names are cut."""

BAD = "bold red"
STYLES = {"consuming": "green", "draining": "cyan", "warming up": "yellow", "stopped": "dim"}
"""All other states are bad."""


class Column(NamedTuple):
    """One column of the table of workers."""

    title: str
    width: int
    """The least of a number, the most of a text."""
    rank: int
    """Where there is no room for all columns, those with the lowest are shown."""
    cell: Callable[[WorkerSummary], str | Text]
    meaning: str
    is_text: bool = False


def state_of(worker: WorkerSummary) -> str:
    """Its condition, or that it is gone."""
    return "gone" if worker.gone else str(worker.condition)


def _state(worker: WorkerSummary) -> Text:
    state = state_of(worker)
    return Text(f"{state} {_age(worker.seconds)}", style=STYLES.get(state, BAD))


def _failed(worker: WorkerSummary) -> Text:
    return Text(str(worker.failed), style=BAD if worker.failed_per_second else "")


def _bars(worker: WorkerSummary) -> str:
    most = max(worker.max_batch_size, 1)
    return "".join(BARS[min(len(BARS) - 1, size * len(BARS) // (most + 1))] for size in worker.last_sizes)


def _trigger(worker: WorkerSummary) -> str:
    return max(worker.triggers, key=worker.triggers.__getitem__, default="")


def _process(worker: WorkerSummary) -> str:
    return clean(f"{worker.host}:{worker.pid}")


COLUMNS = (
    Column("queue", 14, 12, lambda each: clean(each.queue), "what it consumes", is_text=True),
    Column("process", 20, 14, _process, "host and process id", is_text=True),
    Column("state", 16, 1, _state, "since when; gone: nothing was heard for 5 s", is_text=True),
    Column("req/s", 5, 2, lambda each: number(each.requests_per_second), "requests settled per second"),
    Column("batch/s", 5, 15, lambda each: number(each.batches_per_second), "batches per second"),
    Column("size", 4, 3, lambda each: number(each.mean_batch_size), "requests in a batch, mean"),
    Column("last batches", 24, 13, _bars, "each as high as it was full", is_text=True),
    Column("closed by", 9, 16, _trigger, "why most of its batches were closed", is_text=True),
    Column(
        "wait", 5, 8, lambda each: number(each.mean_wait_ms), "ms until a request's batch is closed, mean"
    ),
    Column("infer", 5, 6, lambda each: number(each.mean_service_ms), "ms that a batch is computed, mean"),
    Column("p50", 5, 5, lambda each: number(each.p50_total_ms), "ms until a request is settled, median"),
    Column(
        "p99", 5, 4, lambda each: number(each.p99_total_ms), "ms until a request is settled, 99 % of them"
    ),
    Column("waiting", 5, 7, lambda each: str(each.waiting), "requests in it that wait for a batch"),
    Column("held", 4, 10, lambda each: str(each.held), "requests that it has not settled"),
    Column("fail", 4, 9, _failed, "errors since its start; red while there are new ones"),
    Column("mem", 5, 11, lambda each: memory(each.rss), "memory of its process"),
    Column("device", 10, 17, lambda each: clean(each.device or ""), "where its model computes", is_text=True),
    Column("policy", 12, 18, lambda each: clean(each.policy), "what chooses its batches", is_text=True),
    Column("start", 8, 19, lambda each: clean(each.start), "id of its start, as in its audit", is_text=True),
)


ORDERS: dict[str, tuple[str, Callable[[WorkerSummary], float]]] = {
    "r": ("req/s", lambda each: each.requests_per_second or 0.0),
    "l": ("p99", lambda each: each.p99_total_ms or 0.0),
    "w": ("waiting", lambda each: each.waiting),
    "f": ("fail", lambda each: each.failed),
    "m": ("mem", lambda each: each.rss or 0),
}
"""The column to sort by, the highest first, by the key that chooses it."""


def in_order(workers: Sequence[WorkerSummary], order: str) -> list[WorkerSummary]:
    """Workers sorted as a key of `ORDERS` says; any other leaves them by queue and name."""
    return sorted(workers, key=ORDERS[order][1], reverse=True) if order in ORDERS else list(workers)


def name_column(workers: Sequence[WorkerSummary]) -> Column:
    """The names; where workers of a queue have the same one, also what tells them apart."""
    alike: dict[tuple[str, str], list[WorkerSummary]] = {}
    for each in workers:
        alike.setdefault((each.queue, each.worker), []).append(each)
    fields = {key: _telling_field(each) for key, each in alike.items()}

    def name(worker: WorkerSummary) -> str:
        field = fields[worker.queue, worker.worker]
        mark = "" if field is None else clean(f":{getattr(worker, field)}")[: LONGEST_NAME - 4]
        text, room = clean(worker.worker), LONGEST_NAME - cell_len(mark)
        return (text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…") + mark

    return Column(
        "worker", LONGEST_NAME, 0, name, "its name; with process, host or start if need be", is_text=True
    )


def _telling_field(alike: Sequence[WorkerSummary]) -> str | None:
    if len(alike) == 1:
        return None
    fields = ("pid", "host", "start")
    return next(
        (each for each in fields if len({getattr(one, each) for one in alike}) == len(alike)), "place"
    )


def fitting(workers: Sequence[WorkerSummary], order: str, width: int) -> list[tuple[Column, int]]:
    """The columns that there is room for, with their widths; the one that sorts is among them."""
    by = sorted_by(order)
    columns = (name_column(workers), *COLUMNS)
    chosen, left = dict[str, int](), width + GAP
    for column in sorted(columns, key=lambda each: (each.title not in {by, "worker"}, each.rank)):
        needed = _width(column, workers, is_marked=column.title == by)
        left -= needed + GAP
        if left < 0:
            break
        chosen[column.title] = needed
    return [(column, chosen[column.title]) for column in columns if column.title in chosen]


def sorted_by(order: str) -> str:
    """The title of the column that a key sorts by."""
    return ORDERS[order][0] if order in ORDERS else "worker"


def _width(column: Column, workers: Sequence[WorkerSummary], *, is_marked: bool) -> int:
    title = len(column.title) + is_marked
    if not column.is_text:
        return max(title, column.width)
    longest = max((cell_len(str(column.cell(each))) for each in workers), default=0)
    return max(title, min(column.width, longest))


def worker_table(
    workers: Sequence[WorkerSummary], columns: Sequence[tuple[Column, int]], order: str
) -> Table:
    """A row for each worker; the title of the column that sorts has a mark."""
    by, arrow = sorted_by(order), "▼" if order in ORDERS else "▲"
    table = _table()
    for column, width in columns:
        mark = arrow if column.title == by else ""
        table.add_column(
            column.title + mark,
            justify="left" if column.is_text else "right",
            no_wrap=True,
            width=width,
            overflow="ellipsis",
        )
    for worker in workers:
        is_off = state_of(worker) in {"gone", "stopped"}
        cells = (_verbatim(column.cell(worker)) for column, _ in columns)
        table.add_row(*cells, style="dim" if is_off else None)
    return table


def _verbatim(cell: str | Text) -> Text:
    """Names may look like markup."""
    return Text(cell) if isinstance(cell, str) else cell


SHORT_QUEUE, LONG_QUEUE = 12, 30
"""The least and the largest width for the names of queues."""

QUEUE_COLUMNS: tuple[tuple[str, Callable[[QueueSummary], str]], ...] = (
    ("ready", lambda each: "-" if each.ready is None else str(each.ready)),
    ("workers", lambda each: str(each.workers)),
    ("req/s", lambda each: number(each.requests_per_second)),
    ("p50", lambda each: number(each.total.p50 if each.total else None)),
    ("p99", lambda each: number(each.total.p99 if each.total else None)),
    ("waiting", lambda each: str(each.waiting)),
    ("held", lambda each: str(each.held)),
    ("fail", lambda each: str(each.failed)),
)
"""Of the table of queues, beside their names; the last ones go where there is no room."""


def is_stuck(queue: QueueSummary) -> bool:
    """Whether messages lie in it and no worker consumes it."""
    return bool(queue.ready) and not queue.workers


def queues_in(room: int, queues: Sequence[QueueSummary]) -> Sequence[QueueSummary]:
    """All of them, or as many as there is room for, those that are stuck first."""
    return queues if len(queues) <= room else sorted(queues, key=lambda each: not is_stuck(each))[:room]


def queue_table(queues: Sequence[QueueSummary], width: int) -> Table:
    """A row for each queue."""
    name_width = max([SHORT_QUEUE, *(min(LONG_QUEUE, cell_len(clean(each.queue))) for each in queues)])
    ends = accumulate((max(5, len(title)) + GAP for title, _ in QUEUE_COLUMNS), initial=name_width)
    columns = QUEUE_COLUMNS[: max(0, sum(end <= width for end in ends) - 1)]
    table = _table()
    table.add_column("queue", no_wrap=True, width=name_width, overflow="ellipsis")
    for title, _ in columns:
        table.add_column(title, justify="right", min_width=5, no_wrap=True)
    for each in queues:
        name = Text(clean(each.queue))
        table.add_row(name, *(cell(each) for _, cell in columns), style=BAD if is_stuck(each) else None)
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="reverse")


def clean(text: str) -> str:
    """Without what a terminal would obey: anyone who may publish events decides what is in them."""
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
