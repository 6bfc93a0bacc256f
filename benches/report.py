"""What a bench found: its figures, and where they go (the terminal, a JSON file)."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The same figure from several rounds."""

    median: float
    lowest: float
    highest: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Spread:
        return cls(
            median=statistics.median(rounds), lowest=min(rounds), highest=max(rounds), rounds=tuple(rounds)
        )

    def text(self, digits: int | None = None) -> str:
        """The median, and the lowest and highest below it; by default with as many digits as tell."""
        digits = (self.median < 100) + (self.median < 10) if digits is None else digits  # noqa: PLR2004 - three digits in all
        return f"{self.median:.{digits}f}\n[dim]{self.lowest:.{digits}f}-{self.highest:.{digits}f}[/]"


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` % of them do not exceed, interpolated within them."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def print_table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print figures, right-aligned but for the first column."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def write_json(path: Path, bench: str, settings: Mapping[str, object], results: Sequence[object]) -> None:
    """Write what was found, and where."""
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {name: version(name) for name in ("rpcb-trio", "trio", "trio-asyncio", "aiormq", "pika")},
    }
    found = {"bench": bench, "settings": settings, "machine": machine, "results": results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def progress() -> Progress:
    """A bar for what takes minutes."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    )
