"""What is shown at the end: the transcripts, and both runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, quantiles

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from rpcb_models.demo._enhance import DRY, SNR, Result
from rpcb_models.demo._load import Answered, Run
from rpcb_models.wer import word_error_rate


def print_transcripts(console: Console, run: Run) -> None:
    """Print each recording's text and transcript with its word error rate, and the rate of them all."""
    first = {each.recording.name: each for each in reversed(run.answered)}
    answered = [first[name] for name in sorted(first)]
    table = Table("recording", "reference", "transcript", "WER", title="Transcripts", box=HORIZONTALS)
    for each in answered:
        table.add_row(each.recording.name, each.recording.text, each.sentence, f"{_wer([each]):.1%}")
    console.print(table)
    read_books = [each for each in answered if each.recording.name.startswith("librivox")]
    console.print(
        f"Word error rate: {_wer(answered):.1%} over all {len(answered)} recordings, "
        f"{_wer(read_books):.1%} over the {len(read_books)} of LibriVox.\n"
    )


def _wer(answered: Sequence[Answered]) -> float:
    return word_error_rate([each.recording.text for each in answered], [each.sentence for each in answered])


def print_comparison(console: Console, runs: Sequence[Run]) -> None:
    """Print throughput, latency and batch size of each run."""
    table = Table("", *(run.title for run in runs), title="The same work", box=HORIZONTALS)
    for name, value in _FIGURES.items():
        table.add_row(name, *(value(run) for run in runs))
    console.print(table)


def print_enhancement(console: Console, results: Sequence[Result]) -> None:
    """Print for each noisy clip how much of it is speech and how well it is recognised, before and after."""
    table = Table(
        *("recording", "noise", "SI-SDR", "enhanced", "WER", "enhanced"),
        title=f"Noisy speech at {SNR} dB, enhanced by one service, recognised by another",
        box=HORIZONTALS,
    )
    for each in results:
        ratios = (f"{ratio:.1f} dB" for ratio in each.si_sdr)
        table.add_row(each.clip.name, each.clip.noise, *ratios, *(f"{rate:.0%}" for rate in each.word_errors))
    console.print(table)
    gain = fmean(after - before for before, after in (each.si_sdr for each in results))
    console.print(
        f"Enhancement gains {gain:.1f} dB in the mean, with {DRY:.0%} of the original left in. "
        "It is for ears: a recogniser that has learnt to hear through noise gains little, or loses.\n"
    )


def _latency(run: Run, percent: int) -> str:
    return f"{1e3 * quantiles([each.latency for each in run.answered], n=100)[percent - 1]:.0f} ms"


_FIGURES: dict[str, Callable[[Run], str]] = {
    "throughput": lambda run: f"{len(run.answered) / run.seconds:.1f} requests/s",
    "processor time": lambda run: f"{1e3 * run.cpu_seconds / len(run.answered):.0f} ms/request",
    "mean latency": lambda run: f"{1e3 * fmean(each.latency for each in run.answered):.0f} ms",
    "p50 latency": lambda run: _latency(run, 50),
    "p99 latency": lambda run: _latency(run, 99),
    "mean batch size": lambda run: f"{fmean(batch.size for batch in run.batches):.1f}",
}
