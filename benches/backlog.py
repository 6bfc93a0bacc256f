"""`python -m benches.backlog`: what the default policy saves where many clips of mixed lengths wait.

A real model behind the worker as it is served, in one thread, with an embedded broker and a producer that
keeps a fixed number of requests outstanding. Workers with different policies take turns in every round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, Final

import cyclopts
import trio

from benches.mixes import MIXES, Kept, Mix, bodies_of, clips_of, lengths_of
from benches.models import SMALL_QUARTZNET, Model
from benches.plots import draw_backlog
from benches.report import Spread, print_table, progress, write_json
from benches.turns import Contestant, Turn, backlogged
from rpcb_models.asr import SpeechRecognition
from rpcb_models.se import SpeechEnhancement
from rpcb_trio import AutoPolicy, FixedPolicy
from rpcb_trio.batching import Policy

MAX_BATCH_SIZE: Final = 32
PENDING: Final = 2 * MAX_BATCH_SIZE
ONE_BY_ONE, AUTO, FIRST_IN = "one by one", "auto", f"first {MAX_BATCH_SIZE}"
POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {
    ONE_BY_ONE: lambda: FixedPolicy(1),
    AUTO: lambda: AutoPolicy(MAX_BATCH_SIZE),
    FIRST_IN: lambda: FixedPolicy(MAX_BATCH_SIZE),
}
EXPECTED: Final = 1.3
"""How many times cheaper than one by one the default policy is to be."""


def served(model: Model) -> Any:
    """The service as it is served, in one thread; nothing is loaded yet."""
    match model:
        case "moonshine":
            return SpeechRecognition()
        case "quartznet":
            return SpeechRecognition("quartznet", checkpoint=str(SMALL_QUARTZNET))
        case _:
            return SpeechEnhancement(model)


async def play(
    service: Any, bodies: Sequence[bytes], *, clips: int, rounds: int, advance: Callable[[], None]
) -> dict[str, list[Turn]]:
    """Let each policy have its turn in each round, of so many clips; what it did, by policy.

    A turn before that is not counted: the backlog comes up, and the policy that learns has its first batches.
    """
    async with AsyncExitStack() as stack:
        workers: dict[str, Contestant] = {}
        for name, policy in POLICIES.items():
            worker = backlogged(service, policy(), cycle(bodies), pending=PENDING)
            workers[name] = await stack.enter_async_context(worker)
            await workers[name].take_turn(clips if name == AUTO else 1)
        taken: dict[str, list[Turn]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, contestant in workers.items():
                taken[name].append(await contestant.take_turn(clips))
            advance()
    return taken


def kept(mix: Mix, taken: Mapping[str, Sequence[Turn]]) -> list[Kept]:
    """Sum up the rounds of a mix."""
    costs = {name: [turn.cpu_seconds * 1000 / turn.audio for turn in turns] for name, turns in taken.items()}
    found = []
    for name, turns in taken.items():
        batches = [batch for turn in turns for batch in turn.batches]
        surprises = [batch.seconds / batch.predicted for batch in batches if batch.predicted]
        ratios = [one / each for one, each in zip(costs[ONE_BY_ONE], costs[name], strict=True)]
        found.append(
            Kept(
                mix=mix,
                policy=name,
                ms_per_second=Spread.of(costs[name]),
                ratio_to_one=Spread.of(ratios),
                batch_size=sum(batch.size for batch in batches) / len(batches),
                real_to_predicted=Spread.of(surprises) if surprises else None,
            )
        )
    return found


def verdict(found: Sequence[Kept]) -> str:
    """Say in which mixes the default policy is as good as expected, and in which it is not."""
    ratios = {each.mix: each.ratio_to_one.median for each in found if each.policy == AUTO}
    short = [f"{mix} ({ratio:.2f}x)" for mix, ratio in ratios.items() if 1 <= ratio < EXPECTED]
    worse = [f"{mix} ({ratio:.2f}x)" for mix, ratio in ratios.items() if ratio < 1]
    good = len(ratios) - len(short) - len(worse)
    said = f"{AUTO} is {EXPECTED:g}x cheaper than one by one, or more, in {good} of {len(ratios)} mixes"
    if short:
        said += f"; less so in {', '.join(short)}"
    return said + (f"; dearer in {', '.join(worse)}" if worse else "; dearer in none")


def show(model: str, found: Sequence[Kept], lengths: Mapping[Mix, tuple[float, float, float]]) -> None:
    """Print the table, with the verdict below."""
    rows = [
        [
            "{}\n[dim]{:.1f}, {:.1f}, {:.1f} s[/]".format(each.mix, *lengths[each.mix]),
            each.policy,
            each.ms_per_second.text(2),
            each.ratio_to_one.text(2),
            f"{each.batch_size:.1f}",
            "" if each.real_to_predicted is None else each.real_to_predicted.text(2),
        ]
        for each in found
    ]
    columns = (
        "clips\n[dim]shortest, mean, longest[/]",
        "policy",
        "CPU ms per\nsecond of audio",
        "ratio to\none by one",
        "mean\nbatch",
        "real over\npredicted time",
    )
    print_table(f"{model}, one thread, {PENDING} outstanding", verdict(found), columns, rows)


def checked(clips: int, rounds: int) -> None:
    """Refuse what can't be measured.

    Raises:
        ValueError: there is nothing to measure.
    """
    if clips < 1 or rounds < 1:
        raise ValueError(f"clips is {clips} and rounds {rounds}; both must be positive")


def main(
    *,
    model: Model = "moonshine",
    mix: Annotated[tuple[Mix, ...], cyclopts.Parameter(consume_multiple=True)] = MIXES,
    clips: int = 32,
    rounds: int = 3,
    seed: int = 0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure the CPU time of a model under a backlog, one by one and as policies batch it.

    Args:
        model: which one.
        mix: which mixes of clips; several, if you like.
        clips: that each policy computes at least in a round, in whole batches.
        rounds: that count.
        seed: of the clips' order, and of their lengths where these are random.
        json: a file for the figures.
        plot: a file for a chart.
    """
    checked(clips, rounds)
    service = served(model)
    sent = {each: clips_of(each, 2 * PENDING, seed) for each in mix}
    found: list[Kept] = []
    with progress() as bar:
        task = bar.add_task(f"{model}, loading", total=len(sent) * rounds)
        for name, those in sent.items():
            bar.update(task, description=f"{model}, {name}")
            run = partial(
                play,
                service,
                bodies_of(those),
                clips=clips,
                rounds=rounds,
                advance=partial(bar.advance, task),
            )
            found += kept(name, trio.run(run))
    show(model, found, {name: lengths_of(those) for name, those in sent.items()})
    if json is not None:
        settings = {
            "model": model,
            "clips": clips,
            "rounds": rounds,
            "seed": seed,
            "pending": PENDING,
            "threads": 1,
        }
        libraries = {name: version(name) for name in ("torch", "onnxruntime")}
        write_json(json, "backlog", settings | {"libraries": libraries}, found)
    if plot is not None:
        draw_backlog(plot, model, found, EXPECTED)


if __name__ == "__main__":
    cyclopts.run(main)
