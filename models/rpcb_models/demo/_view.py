"""What is shown while the requests are under way."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rpcb_models.demo._load import Run

ROWS = 6


def live_view(run: Run) -> RenderableType:
    """Draw the queue, the last batches and the last answers of a run."""
    progress = Table.grid(padding=(0, 2))
    progress.add_row(
        Text(f"{len(run.answered)}/{run.total} answered"),
        ProgressBar(total=run.total, completed=len(run.answered), width=40),
        Text(f"{run.waiting()} at the worker"),
    )
    return Group(Panel(progress, title=run.title), _batches(run), _answers(run))


def _batches(run: Run) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for batch in run.batches[-ROWS:]:
        table.add_row(
            f"batch {batch.id}", Text("█" * batch.size, "green"), f"{batch.size} by {batch.trigger}"
        )
    return Panel(table, title="batches", height=ROWS + 2)


def _answers(run: Run) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for each in run.answered[-ROWS:]:
        table.add_row(f"{each.latency:.2f} s", Text(each.sentence, no_wrap=True, overflow="ellipsis"))
    return Panel(table, title="answers", height=ROWS + 2)
