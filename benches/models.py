"""`python -m benches.models`: what each model costs alone and in batches, of clips equal and mixed in length.

All batch sizes get the same clips, so that only how they are put together differs. The models are run as they
are served, with what each does itself to keep padding out of its work, in one thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import cyclopts
import numpy as np

from benches.batching import Costs, Kind, Run, fitted_line, padded_length, padding_share, verdict
from benches.plots import draw_batches
from benches.report import Spread, print_table, progress, write_json
from rpcb_models.asr import Moonshine, QuartzNet
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se import named_enhancer

Model = Literal["moonshine", "quartznet", "dtln", "demucs"]
Compute: TypeAlias = Callable[[list[Samples]], Any]
Plan: TypeAlias = tuple[Kind, int]
"""Which clips, in batches of which size."""

MODELS: Final = get_args(Model)
KINDS: Final = get_args(Kind)
SMALL_QUARTZNET: Final = (
    Path(__file__).parents[1] / "models" / "rpcb_models" / "asr" / "quartznet_prompts.nemo"
)


def loaded(model: Model) -> Compute:
    """Load a model; what it returns runs a batch in one thread."""
    if model in {"dtln", "demucs"}:
        enhancer = named_enhancer(model, threads=1)
        enhancer.load()
        return enhancer.enhance
    recogniser = Moonshine(threads=1) if model == "moonshine" else QuartzNet(SMALL_QUARTZNET, threads=1)
    recogniser.load()
    return recogniser.transcribe


def clips_of(kind: Kind, count: int, *, seconds: float, seed: int) -> list[Samples]:
    """The shipped recordings in a seeded order, over and over; cut or repeated to `seconds` where equal."""
    read = [read_audio(recording.path.read_bytes()) for recording in recordings()]
    random.Random(seed).shuffle(read)  # noqa: S311 (an order, no secret)
    clips = [read[number % len(read)] for number in range(count)]
    if kind == "mixed":
        return clips
    return [np.resize(clip, round(seconds * SAMPLE_RATE)) for clip in clips]


def cut(clips: Sequence[Samples], size: int) -> list[list[Samples]]:
    """Clips in batches of one size, as they come."""
    return [list(clips[start : start + size]) for start in range(0, len(clips), size)]


def cpu_ms(compute: Compute, batches: Sequence[list[Samples]]) -> float:
    """Run batches; the CPU time that all of the process's threads took, so that none is overlooked."""
    began = time.process_time()
    for batch in batches:
        compute(batch)
    return (time.process_time() - began) * 1000


def measure(
    model: Model, clips: dict[Kind, list[Samples]], sizes: Sequence[int], repeats: int
) -> dict[Plan, list[float]]:
    """CPU milliseconds for all clips of a kind, by batch size, in each round.

    Each plan has its turn in each round, so that what slows the machine down for a while falls on all alike.
    """
    plans = {(kind, size): cut(clips[kind], size) for kind in clips for size in sizes}
    taken: dict[Plan, list[float]] = {plan: [] for plan in plans}
    with progress() as bar:
        task = bar.add_task(f"{model}, loading", total=len(plans) * (repeats + 1))
        compute = loaded(model)
        for batches in plans.values():  # a first batch of each shape sets up what later ones reuse
            compute(batches[0])
            bar.update(task, description=f"{model}, warm-up", advance=1)
        for number in range(repeats):
            for plan, batches in plans.items():
                taken[plan].append(cpu_ms(compute, batches))
                bar.update(task, description=f"{model}, round {number + 1} of {repeats}", advance=1)
    return taken


def run_of(plan: Plan, clips: Sequence[Samples], taken: dict[Plan, list[float]]) -> Run:
    """Sum up the rounds of one plan."""
    kind, size = plan
    batches = [[len(clip) / SAMPLE_RATE for clip in batch] for batch in cut(clips, size)]
    audio = sum(map(sum, batches))
    rounds = taken[plan]
    alone = taken[kind, 1]
    return Run(
        kind=kind,
        batch_size=size,
        seconds=sum(map(padded_length, batches)) / len(batches),
        batch_ms=Spread.of([each / len(batches) for each in rounds]),
        ms_per_second=Spread.of([each / audio for each in rounds]),
        ratio_to_one=Spread.of([one / each for one, each in zip(alone, rounds, strict=True)]),
        padding=padding_share(batches),
    )


def costs_of(model: Model, clips: dict[Kind, list[Samples]], sizes: Sequence[int], repeats: int) -> Costs:
    """Measure a model and draw the conclusions."""
    taken = measure(model, clips, sizes, repeats)
    runs = [run_of(plan, clips[plan[0]], taken) for plan in taken]
    equal = [run for run in runs if run.kind == "equal"]
    fit = None
    if len(equal) > 1:
        fit = fitted_line([run.seconds for run in equal], [run.batch_ms.median for run in equal])
    said: dict[Kind, str] = {kind: verdict([run for run in runs if run.kind == kind]) for kind in KINDS}
    return Costs(model=model, runs=runs, fit=fit, verdict=said)


def show(costs: Costs) -> None:
    """Print a model's table, with the fitted line and the verdicts below."""
    rows = [
        [
            run.kind,
            str(run.batch_size),
            run.ms_per_second.text(2),
            f"{run.padding:.0%}",
            run.ratio_to_one.text(2),
        ]
        for run in costs.runs
    ]
    caption = [f"{kind} lengths: {said}" for kind, said in costs.verdict.items()]
    if costs.fit is not None:
        fit = costs.fit
        caption.append(
            f"equal lengths, CPU ms of a batch of b clips: {fit.fixed_ms:.1f} + "
            f"{fit.ms_per_second:.2f} * b * seconds, R² {fit.r_squared:.3f}"
        )
    columns = (
        "clips",
        "batch size",
        "CPU ms per\nsecond of audio",
        "padding of a\npadded batch",
        "ratio to 1",
    )
    print_table(f"{costs.model}, one thread", "\n".join(caption), columns, rows)


def checked(sizes: Sequence[int], repeats: int, seconds: float) -> list[int]:
    """The batch sizes in order, with 1, to which the others are compared.

    Raises:
        ValueError: they can't all take the same clips, or there is nothing to measure.
    """
    ordered = sorted({1, *sizes})
    if ordered[0] < 1 or any(ordered[-1] % size for size in ordered):
        raise ValueError(f"sizes are {list(sizes)}; each must be a divisor of the largest")
    if repeats < 1 or seconds <= 0:
        raise ValueError(f"repeats is {repeats} and seconds {seconds:g}; both must be positive")
    return ordered


def main(
    *,
    model: tuple[Model, ...] = MODELS,
    sizes: Annotated[tuple[int, ...], cyclopts.Parameter(consume_multiple=True)] = (1, 2, 4, 8, 16, 32),
    seconds: float = 4.0,
    repeats: int = 3,
    seed: int = 0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure the CPU time of models alone and in batches.

    Args:
        model: which models; give it again for another.
        sizes: of the batches; each a divisor of the largest, which is how many clips there are.
        seconds: of each clip, where they are equal in length.
        repeats: rounds.
        seed: of the order in which recordings come.
        json: a file for the figures.
        plot: a file for a chart.
    """
    ordered = checked(sizes, repeats, seconds)
    clips = {kind: clips_of(kind, ordered[-1], seconds=seconds, seed=seed) for kind in KINDS}
    found = []
    for each in model:
        found.append(costs_of(each, clips, ordered, repeats))
        show(found[-1])
    if json is not None:
        settings = {"sizes": ordered, "seconds": seconds, "repeats": repeats, "seed": seed, "threads": 1}
        libraries = {name: version(name) for name in ("torch", "onnxruntime")}
        write_json(json, "models", settings | {"libraries": libraries}, found)
    if plot is not None:
        draw_batches(plot, found)


if __name__ == "__main__":
    cyclopts.run(main)
