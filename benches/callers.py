"""Callers in a closed loop, and what they saw: for the benches that repeat the ancestor's table."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio

from benches.broker import broker_at, fresh_queue
from benches.plots import draw_latencies
from benches.report import percentile, print_table, progress, write_json

PUBLISHED_MS = {(1, True): 276.0, (10, True): 510.0, (10, False): 2332.0}
"""Means that rabbit-rpc-batch publishes, by callers and batching: other models, on an RTX 3090, by HTTP."""

Ask: TypeAlias = Callable[[int], Awaitable[int]]
"""One call of the caller with this number; it checks its answer, and returns the size of its batch."""


class Case(msgspec.Struct, frozen=True):
    """What is measured: so many callers, of a worker that batches or does not."""

    callers: int
    batched: bool

    @property
    def mode(self) -> str:
        return "batched" if self.batched else "unbatched"

    @property
    def label(self) -> str:
        return f"{self.callers} caller{'s' if self.callers > 1 else ''}, {self.mode}"


CASES = tuple(Case(callers, batched) for callers in (1, 10) for batched in (False, True))


class Seen(msgspec.Struct, frozen=True):
    sent: float
    answered: float
    batch_size: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    callers: int
    batched: bool
    requests: int
    requests_per_second: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    mean_batch_size: float
    published_mean_ms: float | None
    """By rabbit-rpc-batch, on other hardware."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    warm_up: int
    max_batch_size: int


class Callers:
    """Some callers, each in a closed loop; their first calls do not count."""

    def __init__(self, plan: Plan, callers: int, tell: Callable[[int], None]) -> None:
        self._plan = plan
        self._callers = callers
        self._tell = tell
        self._seen: list[Seen] = []

    async def run(self, ask: Ask) -> list[Seen]:
        """Ask until the time is over."""
        async with trio.open_nursery() as nursery:
            for number in range(self._callers):
                nursery.start_soon(self._run_one, ask, number)
        return self._seen

    async def _run_one(self, ask: Ask, number: int) -> None:
        for _ in range(self._plan.warm_up):
            await ask(number)
        over = trio.current_time() + self._plan.seconds
        while (sent := trio.current_time()) < over:
            batch_size = await ask(number)
            self._seen.append(Seen(sent, trio.current_time(), batch_size))
            self._tell(len(self._seen))


def summary(case: Case, seen: Sequence[Seen]) -> Found:
    """Sum up what a case's callers saw."""
    latencies = [1e3 * (each.answered - each.sent) for each in seen]
    mean = statistics.fmean(latencies)
    return Found(
        callers=case.callers,
        batched=case.batched,
        requests=len(seen),
        requests_per_second=1e3 * case.callers / mean,  # in a closed loop each caller always awaits one
        mean_ms=mean,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        mean_batch_size=len(seen) / sum(1 / each.batch_size for each in seen),
        published_mean_ms=PUBLISHED_MS.get((case.callers, case.batched)),
    )


LetAsk: TypeAlias = Callable[[Ask], Awaitable[list[Seen]]]
"""Lets the callers of a case ask."""

Measure: TypeAlias = Callable[[str, str, int, LetAsk], list[Seen]]
"""Starts what is measured at a broker's URL and queue, with a largest batch, and lets the callers ask it."""


def run_cases(measure: Measure, url: str | None, plan: Plan) -> list[Found]:
    """Measure one case after the other."""
    found = []
    with broker_at(url) as broker, progress() as bar:
        task = bar.add_task("", total=len(CASES))
        for case in CASES:

            def tell(answered: int, label: str = case.label) -> None:
                bar.update(task, description=f"{label}: {answered} answered")

            tell(0)
            callers = Callers(plan, case.callers, tell)
            max_batch_size = plan.max_batch_size if case.batched else 1
            with fresh_queue(broker) as queue:
                found.append(summary(case, measure(broker.url, queue, max_batch_size, callers.run)))
            bar.advance(task)
    return found


def show(title: str, found: Sequence[Found], plan: Plan) -> None:
    print_table(
        title,
        f"Latencies in ms. Closed loop, {plan.seconds:g} s each, after {plan.warm_up} calls of each caller. "
        f"Batches of up to {plan.max_batch_size}, with no setting but that.\n"
        "Published: means, by rabbit-rpc-batch, for other models on other hardware, by HTTP.",
        ("callers", "mode", "calls/s", "mean", "p50", "p99", "mean batch", "published"),
        [
            (
                str(each.callers),
                "batched" if each.batched else "unbatched",
                f"{each.requests_per_second:.1f}",
                f"{each.mean_ms:.0f}",
                f"{each.p50_ms:.0f}",
                f"{each.p99_ms:.0f}",
                f"{each.mean_batch_size:.1f}",
                f"{each.published_mean_ms:.0f}" if each.published_mean_ms else "",
            )
            for each in found
        ],
    )


def keep(bench: str, found: Sequence[Found], plan: Plan, json: Path | None, plot: Path | None) -> None:
    """Write the figures and draw them, as far as that is asked for."""
    if json is not None:
        write_json(json, bench, msgspec.structs.asdict(plan), found)
    if plot is not None:
        draw_latencies(
            plot,
            [case.label for case in CASES],
            [each.mean_ms for each in found],
            [each.p99_ms for each in found],
            [each.published_mean_ms for each in found],
        )
