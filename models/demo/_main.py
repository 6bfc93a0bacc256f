"""The demo's course."""

from __future__ import annotations

import random
from functools import partial

import trio
from rich.console import Console
from rich.live import Live

from models.asr import service
from models.demo._load import Run, transcribe_all
from models.demo._report import print_comparison, print_transcripts
from models.demo._view import live_view
from models.recordings import Recording, recordings
from rpcb_trio import FixedPolicy

REPEATS = 3
CALLERS = 16


def main() -> None:
    """Transcribe the shipped recordings one by one and in batches, and print what came of it."""
    console = Console()
    with console.status("loading the speech recogniser"):
        service.warm_up()
    work = recordings() * REPEATS
    random.Random(0).shuffle(work)  # noqa: S311 - the same order every time
    alone = _show(console, "one by one", work, FixedPolicy(max_batch_size=1))
    batched = _show(console, "in batches", work, FixedPolicy(max_batch_size=CALLERS))
    print_transcripts(console, batched)
    print_comparison(console, [alone, batched])


def _show(console: Console, title: str, work: list[Recording], batching: FixedPolicy) -> Run:
    run = Run(f"{CALLERS} producers, {title}", total=len(work))
    with Live(get_renderable=partial(live_view, run), console=console, refresh_per_second=8, transient=True):
        trio.run(partial(transcribe_all, run, service, work, callers=CALLERS, batching=batching))
    return run
