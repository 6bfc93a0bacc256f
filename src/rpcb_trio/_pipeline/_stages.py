"""The stages of the pipeline: each is one task, fed by a channel and feeding the next.

    session.requests ─▶ receive ─▶ pending ─▶ batch ─▶ batches ─▶ compute ─▶ computed ─▶ reply ─▶ settle
                           └── refused, failed ─┴──────── expired ────────────────┘

Every task has its own clone of each channel end it uses, so a stage ends when all that feed it have ended:
draining is nothing but the end of `session.requests`. No channel can be full, for each one's buffer holds the
prefetch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias, TypeVar

import trio

from rpcb_trio._batching import Batcher
from rpcb_trio._errors import ExecutorHung, OutcomeError
from rpcb_trio._executors import Executor
from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._messages import Answer, Batch, Failure, Pending, Request, Settled
from rpcb_trio._pipeline._admission import Admission
from rpcb_trio._pipeline._answering import Answering
from rpcb_trio._pipeline._codec import Codec, Resolved
from rpcb_trio._pipeline._isolation import Isolation
from rpcb_trio._pipeline._journal import Journal
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._transports import Rest, Session

T = TypeVar("T")


Outcomes: TypeAlias = Sequence[Resolved | Answer]
"""Requests with what becomes of them, ready to be answered."""


async def receive(
    requests: trio.MemoryReceiveChannel[Request],
    pending: trio.MemorySendChannel[Sequence[Pending]],
    computed: trio.MemorySendChannel[Outcomes],
    *,
    admission: Admission,
    instruments: Instruments,
    journal: Journal,
    ledger: Ledger,
) -> None:
    """Decode each delivery; one that is refused or can't be decoded goes straight to its answer."""

    def pass_on(admitted: Sequence[Pending | Resolved | Answer]) -> None:
        waiting = [each for each in admitted if isinstance(each, Pending)]
        if waiting:
            pending.send_nowait(waiting)
        if len(waiting) < len(admitted):
            answered = [each for each in admitted if not isinstance(each, Pending)]
            _tell_refused(instruments, answered)
            computed.send_nowait(answered)

    with requests, pending, computed:
        async for first in requests:
            # What needs no decoding goes on all at once: turns of the scheduler for each cost a fifth more.
            taken = [first, *_at_hand(requests)] if admission.takes_bodies else [first]
            # All are held from here on, though the session may be lost while one waits to be admitted.
            suspects = ledger.receive(taken)
            if instruments.hears(Instrument.request_received):
                for request in taken:
                    instruments.notify(Instrument.request_received, request)
            if not suspects and admission.is_prompt(taken):
                pass_on(admission.admit_promptly(taken))
                continue
            for request in taken:
                ledger.begin([request])
                pass_on([await _admit(request, request in suspects, admission, journal)])
                ledger.end([request])


async def _admit(
    request: Request,
    suspect: bool,  # noqa: FBT001 - a request's own property
    admission: Admission,
    journal: Journal,
) -> Pending | Resolved | Answer:
    killed = await journal.verdict(request) if suspect else None
    if killed is not None:
        return Resolved(request, Failure(killed))
    return await admission.admit(request, suspect=suspect)


def _tell_refused(instruments: Instruments, answered: Outcomes) -> None:
    for each in answered:
        if each.error is None:
            instruments.notify(Instrument.request_repeated, each.request)
        else:
            instruments.notify(Instrument.request_refused, each.request, each.error, None)


async def batch(batcher: Batcher, refused: trio.MemorySendChannel[Outcomes]) -> None:
    """Run the batcher; it sends what will not be computed straight to its answer."""
    with refused:
        await batcher.run()


def refuse(
    refused: trio.MemorySendChannel[Outcomes],
    instruments: Instruments,
    pending: Pending,
    error: OutcomeError,
) -> None:
    """Let a request that will not be computed go to its answer."""
    instruments.notify(Instrument.request_refused, pending.request, error, pending.cost)
    refused.send_nowait([Resolved(pending.request, Failure(error))])


async def compute(
    batches: trio.MemoryReceiveChannel[Batch],
    computed: trio.MemorySendChannel[Outcomes],
    *,
    executor: Executor,
    codec: Codec,
    batcher: Batcher,
    idle: trio.Semaphore,
    give_up: Callable[[ExecutorHung], None],
    instruments: Instruments,
    journal: Journal,
    ledger: Ledger,
    slot: int,
) -> None:
    """Take one batch whenever the executor is idle; give up when it hangs."""
    closed: Batch | None = None
    with batches, computed:
        try:
            while True:
                await executor.idle()
                journal.note(slot, ())  # what an earlier session left there has come to its end
                idle.release()
                closed = await batches.receive()
                instruments.notify(Instrument.batch_closed, closed)
                running = [member.request for member in closed.members]
                ledger.begin(running)
                isolation = Isolation(executor, journal, slot)
                started = trio.current_time()
                computed.send_nowait(codec.resolve(closed, await isolation.infer(closed.members)))
                ledger.end(running)
                batcher.completed(closed, isolation.runs)
                seconds = trio.current_time() - started
                instruments.notify(Instrument.batch_computed, closed, seconds, tuple(isolation.runs))
                journal.note(slot, ())  # not earlier: what follows from a batch may crash the worker, too
                del running  # while it waits for the next batch, it keeps nothing of this one in memory
                closed = None
        except trio.EndOfChannel:
            return
        except ExecutorHung as error:
            instruments.notify(Instrument.executor_hung, error, closed)
            give_up(error)


async def reply(
    computed: trio.MemoryReceiveChannel[Outcomes],
    *,
    session: Session,
    answering: Answering,
    tell: Callable[[Sequence[Answer], Sequence[Settled]], None],
    settle_later: Callable[[Sequence[Answer], Collection[int], Rest | None], None],
) -> None:
    """Encode and settle; all that is ready goes in one write to the broker.

    What the broker is slow to confirm, or would not take, is settled in tasks of their own. It is held until
    then, so the prefetch bounds how many there are.
    """
    with computed:
        async for first in computed:
            outcomes = [each for ready in (first, *_at_hand(computed)) for each in ready]
            answers = await answering.answer(outcomes, session)
            prompt, *apart = session.apart(answers)
            for group in apart:
                settle_later(group, range(len(group)), None)
            if not prompt:
                continue
            settled, rest = await session.settle_promptly(prompt)
            over = [(answer, ending) for answer, ending in zip(prompt, settled, strict=True) if ending]
            if over:
                tell([answer for answer, _ in over], [ending for _, ending in over])
            if rest is not None:
                settle_later(prompt, [place for place, ending in enumerate(settled) if not ending], rest)


async def settle(
    answers: Sequence[Answer],
    places: Collection[int],
    rest: Rest | None,
    *,
    session: Session,
    answering: Answering,
    tell: Callable[[Sequence[Answer], Sequence[Settled]], None],
) -> None:
    """Settle answers, or what is left of that, and tell how those at some places ended."""
    answers, settled = await answering.settle(answers, session, rest)
    tell([answers[place] for place in places], [settled[place] for place in places])


def _at_hand(channel: trio.MemoryReceiveChannel[T]) -> list[T]:
    """All that can be received without waiting."""
    taken: list[T] = []
    try:
        while True:
            taken.append(channel.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return taken
