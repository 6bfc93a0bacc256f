"""`python -m benches.readme`: the ancestor's table of latencies, again, through a real RabbitMQ.

The model is an accelerator that takes `150 ms + 25 ms * b` for a batch of b. Callers call in a closed loop:
each one sends its next request when it has the reply to its last.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import cyclopts
import msgspec
import trio

from benches.broker import broker_at, fresh_queue
from benches.command import serving
from benches.plots import draw_latencies
from benches.report import percentile, print_table, progress, write_json
from models.simple import Echoed
from rpcb_trio import RpcClient, open_client

CALL_SECONDS = 60.0
PUBLISHED_MS = {(1, True): 276.0, (10, True): 510.0, (10, False): 2332.0}
"""Means that rabbit-rpc-batch publishes, by callers and batching: other models, on an RTX 3090, by HTTP."""


class Case(msgspec.Struct, frozen=True):
    """What is measured: so many callers, of a worker that batches or does not."""

    callers: int
    batched: bool

    @property
    def mode(self) -> str:
        """The second half, for people."""
        return "batched" if self.batched else "unbatched"

    @property
    def label(self) -> str:
        """All of it, for people."""
        return f"{self.callers} caller{'s' if self.callers > 1 else ''}, {self.mode}"


CASES = tuple(Case(callers, batched) for callers in (1, 10) for batched in (False, True))


class Call(msgspec.Struct, frozen=True):
    """One answered call."""

    sent: float
    answered: float
    batch_size: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What some callers saw."""

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
    """How each case is measured."""

    seconds: float
    warm_up: int
    max_batch_size: int


class Callers:
    """Some callers, each in a closed loop; their first calls do not count."""

    def __init__(self, client: RpcClient, queue: str, plan: Plan, tell: Callable[[int], None]) -> None:
        self._client = client
        self._queue = queue
        self._plan = plan
        self._tell = tell
        self.calls: list[Call] = []

    async def run(self, callers: int) -> None:
        """Call until the time is over."""
        async with trio.open_nursery() as nursery:
            for number in range(callers):
                nursery.start_soon(self._run_one, f"request of caller {number}".encode())

    async def _run_one(self, body: bytes) -> None:
        for _ in range(self._plan.warm_up):
            await self._call(body)
        over = trio.current_time() + self._plan.seconds
        while trio.current_time() < over:
            self.calls.append(await self._call(body))
            self._tell(len(self.calls))

    async def _call(self, body: bytes) -> Call:
        sent = trio.current_time()
        reply = await self._client.call(body, queue=self._queue, timeout=CALL_SECONDS)
        answered = trio.current_time()
        echoed = msgspec.json.decode(reply.raise_for_error().body, type=Echoed)
        assert echoed.echo.encode() == body
        return Call(sent, answered, echoed.batch_size)


def summary(case: Case, calls: Sequence[Call]) -> Found:
    """Sum up what a case's callers saw."""
    latencies = [1e3 * (call.answered - call.sent) for call in calls]
    mean = statistics.fmean(latencies)
    return Found(
        callers=case.callers,
        batched=case.batched,
        requests=len(calls),
        requests_per_second=1e3 * case.callers / mean,  # in a closed loop each caller always awaits one
        mean_ms=mean,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        mean_batch_size=len(calls) / sum(1 / call.batch_size for call in calls),
        published_mean_ms=PUBLISHED_MS.get((case.callers, case.batched)),
    )


def measure(url: str, queue: str, case: Case, plan: Plan, tell: Callable[[int], None]) -> Found:
    """Start a worker and let the callers call it."""

    async def run() -> list[Call]:
        async with open_client(url) as client:
            callers = Callers(client, queue, plan, tell)
            await callers.run(case.callers)
            return callers.calls

    max_batch_size = plan.max_batch_size if case.batched else 1
    with serving("models.simple:accelerator", url, queue, max_batch_size=max_batch_size):
        return summary(case, trio.run(run))


def run_cases(url: str | None, plan: Plan) -> list[Found]:
    """Measure one case after the other."""
    found = []
    with broker_at(url) as broker, progress() as bar:
        task = bar.add_task("", total=len(CASES))
        for case in CASES:

            def tell(answered: int, label: str = case.label) -> None:
                bar.update(task, description=f"{label}: {answered} answered")

            tell(0)
            with fresh_queue(broker) as queue:
                found.append(measure(broker.url, queue, case, plan, tell))
            bar.advance(task)
    return found


def show(found: Sequence[Found], plan: Plan) -> None:
    """Print the table."""
    print_table(
        "Latency of a simulated accelerator, 150 ms + 25 ms * b for a batch of b",
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


def main(
    *,
    seconds: float = 20.0,
    warm_up: int = 3,
    max_batch_size: int = 32,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure throughput and latency of 1 and 10 callers, batched and one by one.

    Args:
        seconds: how long each of the four cases is measured.
        warm_up: how many calls of each caller come before that.
        max_batch_size: the most requests in one batch.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(seconds=seconds, warm_up=warm_up, max_batch_size=max_batch_size)
    found = run_cases(url, plan)
    show(found, plan)
    if json is not None:
        write_json(json, "readme", msgspec.structs.asdict(plan), found)
    if plot is not None:
        draw_latencies(
            plot,
            [case.label for case in CASES],
            [each.mean_ms for each in found],
            [each.p99_ms for each in found],
            [each.published_mean_ms for each in found],
        )


if __name__ == "__main__":
    cyclopts.run(main)
