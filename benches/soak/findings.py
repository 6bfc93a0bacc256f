"""What a soak found, and whether all is well."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import msgspec

from benches.report import percentile
from benches.soak.endings import Again, Ending
from benches.soak.fleet import Life, growth
from benches.soak.plan import WORKERS, Plan
from benches.soak.run import NAMES, Soak

UNREACHABLE, DRAIN_TIMEOUT, STOPPED_TWICE = 5, 6, 128 + signal.SIGTERM
HARMLESS = {0, UNREACHABLE, DRAIN_TIMEOUT, STOPPED_TWICE, -signal.SIGKILL, -signal.SIGTERM}
"""Exit codes of workers under these faults; -SIGTERM where it came before the worker could handle it."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of one kind of one producer ended in which way."""

    ending: str
    kind: str
    producer: str
    requests: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fault; times in seconds since the first worker was started."""

    fault: str
    target: int
    began: float
    lasted: float


class WorkerLife(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a worker; times as above."""

    worker: int
    began: float
    ended: float | None
    code: int | None
    memory: tuple[tuple[float, float], ...]
    """Resident, as (seconds, MiB)."""


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    requests: int
    p50: float
    p99: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    requests: int
    rows: tuple[Row, ...]
    again: dict[str, int]
    buried_again: int
    buried_unconfirmed: int
    wrong: tuple[str, ...]
    unexpected: tuple[str, ...]
    lost: int
    first_lost: tuple[str, ...]
    answered_per_second: float
    answered_in: tuple[int, ...]
    bystanders: dict[str, Percentiles]
    """Of the plain requests, with which nothing is wrong, without faults and among them."""
    faults: tuple[Event, ...]
    lives: tuple[WorkerLife, ...]
    consuming: int
    """How many workers consumed when all faults were lifted."""
    growth_mib_per_hour: float | None
    growth_standard_error: float | None

    def total(self, ending: Ending) -> int:
        return sum(row.requests for row in self.rows if row.ending == ending.value)

    def restarts(self) -> Counter[str]:
        """How often processes ended before the end of all, by exit code or signal."""
        last = {life.worker: life for life in self.lives}
        return Counter(code_text(life.code) for life in self.lives if life is not last[life.worker])


def code_text(code: int | None) -> str:
    if code is None:
        return "still running"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def findings(soak: Soak) -> Found:
    accounts, began = soak.accounts, soak.fleet.lives[0].began
    rows = tuple(
        Row(ending=ending.value, kind=kind.name.lower(), producer=NAMES[address], requests=count)
        for (ending, kind, address), count in sorted(accounts.endings().items(), key=lambda each: -each[1])
    )
    slope, error = growth(soak.fleet.lives) or (None, None)
    replies = accounts.answered_in
    return Found(
        requests=accounts.sent,
        rows=rows,
        again={each.value: accounts.again[each] for each in Again},
        buried_again=accounts.buried_again,
        buried_unconfirmed=accounts.buried_unconfirmed,
        wrong=tuple(accounts.wrong),
        unexpected=tuple(accounts.unexpected),
        lost=sum(row.requests for row in rows if row.ending == Ending.LOST.value),
        first_lost=tuple(accounts.lost()),
        answered_per_second=replies.total() / soak.stormed,
        bystanders={
            phase.value: Percentiles(
                requests=len(latencies),
                p50=1e3 * percentile(latencies, 50),
                p99=1e3 * percentile(latencies, 99),
            )
            for phase, latencies in accounts.latencies.items()
            if phase is not None and latencies
        },
        answered_in=tuple(replies[second] for second in range(max(replies, default=0) + 1)),
        faults=tuple(
            Event(
                fault=each.fault.value,
                target=each.target,
                began=each.began - began,
                lasted=(each.lifted or each.began) - each.began,
            )
            for each in soak.injector.injected
        ),
        lives=tuple(_life(life, began) for life in soak.fleet.lives),
        consuming=soak.consuming,
        growth_mib_per_hour=slope,
        growth_standard_error=error,
    )


def problems(found: Found, plan: Plan) -> Iterator[str]:
    """What is not well, one line each; none if all is."""
    if found.lost:
        yield f"{found.lost} request(s) lost"
    if found.wrong:
        yield f"{len(found.wrong)} wrong reply(s)"
    if found.unexpected:
        yield f"{len(found.unexpected)} unexpected end(s)"
    if found.again[Again.UNEXPLAINED.value]:
        yield f"{found.again[Again.UNEXPLAINED.value]} request(s) computed again though nothing had failed"
    harmless = HARMLESS | ({-signal.SIGABRT} if plan.lethal else set())
    for code in sorted({life.code or 0 for life in found.lives} - harmless):
        yield f"a worker crashed: {code_text(code)}"
    if found.consuming < WORKERS:
        yield f"only {found.consuming} of {WORKERS} workers came back"
    last = {life.worker: life for life in found.lives}
    for worker, life in sorted(last.items()):
        if life.code != 0:
            yield f"worker {worker} did not drain at the end: {code_text(life.code)}"


def _life(life: Life, began: float) -> WorkerLife:
    return WorkerLife(
        worker=life.worker,
        began=life.began - began,
        ended=None if life.ended is None else life.ended - began,
        code=life.code,
        memory=tuple((at - began, memory) for at, memory in life.samples),
    )
