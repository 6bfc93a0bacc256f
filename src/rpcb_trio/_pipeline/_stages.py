"""The stages of the pipeline: each is one task, fed by a channel and feeding the next.

    session.requests ─▶ receive ─▶ pending ─▶ batch ─▶ batches ─▶ compute ─▶ computed ─▶ reply ─▶ settle
                           └── refused, failed ─┴──────── expired ────────────────┘

Every task has its own clone of each channel end it uses, so a stage ends when all that feed it have ended:
draining is nothing but the end of `session.requests`. No channel can be full, for each one's buffer holds the
prefetch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import trio

from rpcb_trio._batching import Batcher
from rpcb_trio._errors import ExecutorHung, RequestError
from rpcb_trio._executors import Executor
from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._messages import Answer, Batch, Failure, Pending, Request
from rpcb_trio._pipeline._admission import Admission
from rpcb_trio._pipeline._answering import Answering
from rpcb_trio._pipeline._codec import Place, Resolved
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._transports import Session

T = TypeVar("T")


class Computed(msgspec.Struct, frozen=True, eq=False):
    """Requests with their outcomes, ready to be answered."""

    outcomes: tuple[Resolved | Answer, ...]


async def receive(
    requests: trio.MemoryReceiveChannel[Request],
    pending: trio.MemorySendChannel[Pending],
    computed: trio.MemorySendChannel[Computed],
    *,
    admission: Admission,
    instruments: Instruments,
    journal: Journal,
    ledger: Ledger,
    slot: int,
) -> None:
    """Decode each delivery; one that is refused or can't be decoded goes straight to its answer."""
    with requests, pending, computed:
        async for first in requests:
            # What needs no decoding goes on all at once: turns of the scheduler for each cost a fifth more.
            taken = (first, *_at_hand(requests)) if admission.takes_bodies else (first,)
            # All are held from here on, though the session may be lost while one waits to be admitted.
            for request, suspect in [(each, ledger.receive(each)) for each in taken]:
                instruments.notify(Instrument.request_received, request)
                killed = journal.verdict(request) if suspect else None
                if killed is not None:
                    admitted: Pending | Resolved | Answer = Resolved(request, Failure(killed))
                elif admission.takes_bodies:
                    admitted = await admission.admit(request, suspect=suspect)
                else:
                    async with journal.running(slot, [request]):
                        admitted = await admission.admit(request, suspect=suspect)
                if isinstance(admitted, Pending):
                    pending.send_nowait(admitted)
                    continue
                if admitted.error is None:
                    instruments.notify(Instrument.request_repeated, request)
                else:
                    instruments.notify(Instrument.request_dismissed, request, admitted.error, None)
                computed.send_nowait(Computed((admitted,)))


async def batch(batcher: Batcher, dismissed: trio.MemorySendChannel[Computed]) -> None:
    """Run the batcher; it sends what will not be computed straight to its answer."""
    with dismissed:
        await batcher.run()


def dismiss(
    dismissed: trio.MemorySendChannel[Computed],
    instruments: Instruments,
    pending: Pending,
    error: RequestError,
) -> None:
    """Let a request that will not be computed go to its answer."""
    instruments.notify(Instrument.request_dismissed, pending.request, error, pending.cost)
    dismissed.send_nowait(Computed((Resolved(pending.request, Failure(error)),)))


async def compute(
    batches: trio.MemoryReceiveChannel[Batch],
    computed: trio.MemorySendChannel[Computed],
    *,
    executor: Executor,
    batcher: Batcher,
    idle: trio.Semaphore,
    give_up: Callable[[ExecutorHung], None],
    instruments: Instruments,
    journal: Journal,
    slot: int,
) -> None:
    """Take one batch whenever the executor is idle; give up when it hangs."""
    closed: Batch | None = None
    with batches, computed:
        try:
            while True:
                await executor.idle()
                journal.clear(slot)
                idle.release()
                closed = await batches.receive()
                instruments.notify(Instrument.batch_closed, closed)
                isolation = Isolation(executor, journal, slot)
                computed.send_nowait(await _compute(closed, isolation, batcher, instruments))
                closed = None  # while it waits for the next batch, it keeps nothing of this one in memory
        except trio.EndOfChannel:
            return
        except ExecutorHung as error:
            instruments.notify(Instrument.executor_hung, error, closed)
            give_up(error)


async def _compute(
    closed: Batch, isolation: Isolation, batcher: Batcher, instruments: Instruments
) -> Computed:
    started = trio.current_time()
    outcomes = await isolation.infer(closed.members)
    batcher.completed(closed, isolation.runs)
    instruments.notify(
        Instrument.batch_computed, closed, trio.current_time() - started, tuple(isolation.runs)
    )
    answered = zip(closed.members, outcomes, Place.each(closed), strict=True)
    return Computed(tuple(Resolved(member.request, outcome, place) for member, outcome, place in answered))


async def reply(
    computed: trio.MemoryReceiveChannel[Computed],
    *,
    session: Session,
    answering: Answering,
    instruments: Instruments,
    ledger: Ledger,
) -> None:
    """Encode and settle; all that is ready goes in one crossing to the broker."""
    with computed:
        async for first in computed:
            outcomes = [each for ready in (first, *_at_hand(computed)) for each in ready.outcomes]
            answers, settled = await answering.answer(outcomes, session)
            ledger.settle(answer.request for answer in answers)
            instruments.notify(Instrument.requests_settled, answers, settled)


def _at_hand(channel: trio.MemoryReceiveChannel[T]) -> list[T]:
    """All that can be received without waiting."""
    taken: list[T] = []
    try:
        while True:
            taken.append(channel.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return taken
