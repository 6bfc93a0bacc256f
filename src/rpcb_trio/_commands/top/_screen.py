"""What `top` shows on one screen, and what a key changes of it; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from rpcb_trio._commands.top._table import (
    BAD,
    ORDERS,
    Column,
    clean,
    fitting,
    in_order,
    is_stuck,
    number,
    queue_table,
    queues_in,
    state_of,
    worker_table,
)
from rpcb_trio._events import QueueSummary, WorkerSummary

LEAST_WORKERS = 3
"""Rows for workers, however low the window is."""

MOST_NOTES = 3
"""Lines about queues, and as many about workers."""

SORTS = " ".join(f"{key} {title}" for key, (title, _) in ORDERS.items())
FOOT = f"q quit  ? help  ↑↓ scroll  sort: n name {SORTS}"

MOVES: dict[str, Callable[[int, int], int]] = {
    "up": lambda first, _: first - 1,
    "down": lambda first, _: first + 1,
    "page up": lambda first, room: first - room,
    "page down": lambda first, room: first + room,
    "home": lambda *_: 0,
    "end": lambda *_: 2**31,
}
"""The first row that is shown, from the one before and how many have room."""


class Screen:
    """Which workers are shown, in which order; or what the columns and keys mean."""

    def __init__(self) -> None:
        self._order = "n"
        self._first = 0
        self._room = 1
        self._is_help = False

    def press(self, key: str) -> None:
        """Do what a key asks for; any key ends the help."""
        self._is_help = not self._is_help and key in {"?", "h"}
        if key in MOVES:
            self._first = MOVES[key](self._first, self._room)
        elif key == "n" or key in ORDERS:
            self._order, self._first = key, 0

    def page(
        self,
        workers: Sequence[WorkerSummary],
        queues: Sequence[QueueSummary],
        title: str,
        *,
        width: int,
        height: int | None = None,
    ) -> Group:
        """All of it; with a `height`, no more lines than that, the keys at its foot included."""
        workers = in_order(workers, self._order)
        columns = fitting(workers, self._order, width)
        head: list[RenderableType] = [_line(title, "bold"), _line(_totals(workers, queues))]
        if self._is_help:
            return Group(*head, Text(), *_help([column for column, _ in columns]))
        notes = [_line(note, BAD) for note in _notes(workers, queues)]
        foot: list[RenderableType] = [] if height is None else [Text(), _line(FOOT, "dim")]
        lines = len(head) + len(notes) + len(foot) + 3  # two rows of titles, and an empty one
        shown = queues if height is None else queues_in(max(1, (height - lines) // 3), queues)
        left = len(workers) if height is None else max(LEAST_WORKERS, height - lines - len(shown))
        if len(workers) > left or len(queues) > len(shown):
            left = max(LEAST_WORKERS, left - 1)
        self._room = left
        self._first = max(0, min(self._first, len(workers) - left))
        rows = workers[self._first : self._first + left]
        parts = [*head, worker_table(rows, columns, self._order)]
        if len(rows) < len(workers) or len(shown) < len(queues):
            where = f"workers {self._first + 1} to {self._first + len(rows)} of {len(workers)}"
            parts.append(_line(f"{where}, queues 1 to {len(shown)} of {len(queues)}", "dim"))
        return Group(*parts, *notes, Text(), queue_table(shown, width), *foot)


def _totals(workers: Sequence[WorkerSummary], queues: Sequence[QueueSummary]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in Counter(map(state_of, workers)).most_common())
    sums = [
        f"{number(sum(each.requests_per_second for each in queues))} req/s",
        f"{sum(each.ready or 0 for each in queues)} ready",
        f"{sum(each.held for each in queues)} held",
        f"{sum(each.failed for each in queues)} failed",
    ]
    count = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
    return "  ".join([*sums, f"{count} ({states})" if states else count])


def _notes(workers: Sequence[WorkerSummary], queues: Sequence[QueueSummary]) -> list[str]:
    stuck = [f"{clean(each.queue)}: {each.ready} ready, no worker" for each in queues if is_stuck(each)]
    reasons = [
        clean(f"{each.worker} ({each.host}:{each.pid}): {each.condition}: {each.reason}")
        for each in workers
        if each.reason and not each.gone
    ]
    return [*stuck[:MOST_NOTES], *reasons[:MOST_NOTES]]


def _help(columns: Sequence[Column]) -> list[Text]:
    keys = [
        ("arrows, PgUp, PgDn", "scroll the workers"),
        *((key, f"sort by {title}, the highest first") for key, (title, _) in ORDERS.items()),
        ("n", "sort by queue and name"),
        ("q", "quit; any other key ends this help"),
    ]
    width = max(len(key) for key, _ in keys)
    meanings = [(column.title, column.meaning) for column in columns]
    return [_line(f"{name:<{width}}  {text}") for name, text in [*meanings, ("", ""), *keys]]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
