"""The demo's course."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live
from rich.progress import Progress

from rpcb_models.asr import service
from rpcb_models.demo._enhance import NOISES, enhance_all
from rpcb_models.demo._load import Run, transcribe_all
from rpcb_models.demo._picture import draw_spectrograms
from rpcb_models.demo._report import print_comparison, print_enhancement, print_transcripts
from rpcb_models.demo._view import live_view
from rpcb_models.recordings import Recording, recordings
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Policy

REPEATS = 3
CALLERS = 16


def main(*, output: Path = Path("demo-output")) -> None:
    """Transcribe real speech one by one and in batches, then enhance noisy speech, without any broker.

    Args:
        output: Directory for the noisy and the enhanced recordings and a picture of them.
    """
    console = Console()
    with console.status("loading the speech recogniser"):
        service.warm_up()
    work = recordings() * REPEATS
    random.Random(0).shuffle(work)  # noqa: S311 - the same order every time
    alone = _show(console, "one by one", work, FixedPolicy(max_batch_size=1))
    batched = _show(console, "in batches", work, AutoPolicy(max_batch_size=CALLERS))
    print_transcripts(console, batched)
    print_comparison(console, [alone, batched])
    with Progress(console=console, transient=True) as progress:
        results = enhance_all(output, progress)
    print_enhancement(console, results)
    picture = output / "spectrograms.png"
    draw_spectrograms(
        picture, [next(each for each in results if each.clip.noise == noise) for noise in NOISES]
    )
    console.print(f"Listen to {output}/*.wav, and look at {picture}.")


def _show(console: Console, title: str, work: list[Recording], batching: Policy) -> Run:
    run = Run(f"{CALLERS} producers, {title}", total=len(work))
    with Live(get_renderable=partial(live_view, run), console=console, refresh_per_second=8, transient=True):
        trio.run(partial(transcribe_all, run, service, work, callers=CALLERS, batching=batching))
    return run
