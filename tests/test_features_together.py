"""What callers may want at once: parts, pieces, equal requests, cancels, deadlines, while the worker changes.

Nothing of it is kept once all is answered: no count, no generator, no name that a caller has chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import AutoPolicy, Cache, MemoryBroker, Outcome, Pieces, Reply, Success, Topology
from rpcb_trio._service import bind
from rpcb_trio.batching import Shares
from rpcb_trio.errors import SwapInterrupted
from rpcb_trio.instruments import Settled
from rpcb_trio.streaming import Step, by_item
from rpcb_trio.testing import VirtualExecutor
from tests.scenarios import ANSWERS, QUEUE, Running, steady, taken, working

SECONDS = 12.0
LONG = 1000.0

times = st.floats(0, SECONDS)
texts = st.sampled_from(["a", "abc", "a!", "/ab.cd", "/a.b.c", "/a.?.c", "/a.!b", "*a", "?"])
"""`/` begins one in pieces, which end at dots; `!` fails its item, `*` its batch, `?` can't be decoded."""


class Letters:
    """Yields the letters of texts, in capitals."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.open = 0
        """Generators that were begun, and have not been closed."""

    def decode(self, body: bytes) -> str | Pieces[str]:
        text = body.decode()
        return Pieces(self._pieces(text[1:])) if text.startswith("/") else _decoded(text)

    def stream_infer(self, items: list[str]) -> Generator[Step[str], Collection[int], None]:
        if len(items) > 1 and any(item.startswith("*") for item in items):
            raise ValueError("a text that spoils all")
        yield from by_item(self._letters(item) for item in items)

    def join(self, parts: list[str]) -> str:
        return "".join(parts)

    def encode(self, outcome: Outcome[str]) -> bytes:
        return outcome.value.encode() if isinstance(outcome, Success) else b"failed"

    def _pieces(self, text: str) -> Iterator[str]:
        self.open += 1
        try:
            yield from map(_decoded, text.split("."))
        finally:
            self.open -= 1

    def _letters(self, text: str) -> Iterator[str]:
        self.open += 1
        try:
            for letter in text:
                if letter == "!":
                    raise ValueError("a bad letter")
                yield letter.upper()
        finally:
            self.open -= 1


def _decoded(text: str) -> str:
    if "?" in text:
        raise ValueError("a letter that is none")
    return text


class Asked(NamedTuple):
    """One request, and when it comes."""

    at: float
    text: str
    streams: bool
    ttl: float | None
    priority: int
    is_named: bool

    @property
    def letters(self) -> str:
        return self.text.removeprefix("/").replace(".", "").upper()


class Course(NamedTuple):
    """What comes, and what happens meanwhile."""

    asked: Sequence[Asked]
    cancels: Sequence[tuple[float, int]]
    swaps: Sequence[float]
    caches: Sequence[tuple[float, Cache | None]]
    losses: Sequence[float]
    drain: float | None
    settings: dict[str, Any]


courses = st.builds(
    Course,
    asked=st.lists(
        st.builds(
            Asked,
            at=times,
            text=texts,
            streams=st.booleans(),
            ttl=st.none() | st.floats(0.1, 5),
            priority=st.integers(0, 1),
            is_named=st.sampled_from([True, True, True, False]),
        ),
        min_size=1,
        max_size=15,
    ),
    cancels=st.lists(st.tuples(times, st.integers(0, 14)), max_size=8),
    swaps=st.lists(times, max_size=2),
    caches=st.lists(
        st.tuples(times, st.sampled_from([None, Cache(3), Cache(3, headers=("x",))])), max_size=2
    ),
    losses=st.lists(times, max_size=1),
    drain=st.none() | times,
    settings=st.fixed_dictionaries(
        {
            "cache": st.sampled_from([None, Cache(2), Cache(60)]),
            "max_pending": st.sampled_from([None, 3]),
            "remember_replies": st.sampled_from([0, 8]),
            "shares": st.sampled_from([None, Shares()]),
            "expired": st.sampled_from(["answer", "drop"]),
        }
    ),
)


class Play:
    """A worker that takes a course."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.broker = MemoryBroker()
        self.services: list[Letters] = []
        self.running: Running

    def executors(self) -> tuple[Letters, list[VirtualExecutor]]:
        service = Letters(f"{len(self.services)}")
        self.services.append(service)
        infer = bind(service).infer
        made = [
            VirtualExecutor(infer, lambda _: 0.3, service=service, step_time=lambda _: 0.25) for _ in range(2)
        ]
        return service, made

    async def run(self) -> list[Reply]:
        course = self.course
        service, executors = self.executors()
        topology = Topology(queue=QUEUE, cancel=True)
        self.broker.declare(ANSWERS)
        how: dict[str, Any] = {"executors": executors, "drain_timeout": LONG, **course.settings}
        async with (
            working(service, self.broker, queue=topology, batching=AutoPolicy(3), **how) as self.running,
            trio.open_nursery() as nursery,
        ):
            for number, each in enumerate(course.asked):
                nursery.start_soon(self.ask, number, each)
            for at, number in course.cancels:
                nursery.start_soon(self.cancel, at, number % len(course.asked))
            for at in course.swaps:
                nursery.start_soon(self.swap, at)
            for at, cache in course.caches:
                nursery.start_soon(self.change, at, cache)
            for at in course.losses:
                nursery.start_soon(self.lose, at)
            if course.drain is not None:
                await trio.sleep(course.drain)
                self.running.worker.drain()
            else:
                await trio.sleep(LONG)
                self.check_nothing_is_kept()
        return list(taken(self.broker))

    async def ask(self, number: int, asked: Asked) -> None:
        await trio.sleep(asked.at)
        self.broker.declare(QUEUE)
        self.broker.publish(
            asked.text.encode(),
            routing_key=QUEUE,
            reply_to=ANSWERS,
            correlation_id=f"{number}" if asked.is_named else None,
            expiration=asked.ttl,
            priority=asked.priority,
            headers={"rpcb-stream": True} if asked.streams else {},
        )

    async def cancel(self, at: float, number: int) -> None:
        await trio.sleep(at)
        self.broker.publish(
            b"", exchange="rpcb.cancel", routing_key=QUEUE, reply_to=ANSWERS, correlation_id=f"{number}"
        )

    async def swap(self, at: float) -> None:
        await trio.sleep(at)
        service, executors = self.executors()
        with suppress(SwapInterrupted):
            await self.running.worker.swap(service, executors=executors)

    async def change(self, at: float, cache: Cache | None) -> None:
        await trio.sleep(at)
        await self.running.worker.change(cache=cache)

    async def lose(self, at: float) -> None:
        await trio.sleep(at)
        self.broker.disconnect()

    def check_nothing_is_kept(self) -> None:
        loop: Any = self.running.worker._change.__self__  # type: ignore[attr-defined] # of the worker loop
        pipeline: Any = loop._pipeline
        flights = pipeline.stages._shared.flights
        cancels = pipeline.cancels
        kept = {
            "held": pipeline.ledger._held,
            "running": pipeline.ledger._running,
            "led": flights._led,
            "latest": flights._latest,
            "cancels": (cancels._held or cancels._pending or cancels._cancelled or cancels._called),
            "uses": pipeline.generations.current.uses._count,
        }
        assert not any(kept.values()), kept


def check(course: Course, replies: Sequence[Reply], running: Running) -> None:
    settled = [answer.request.correlation_id for answer, _ in running.settled]
    named = [each for each in settled if each is not None]
    assert len(set(named)) == len(named), "each request is settled once"
    messages = defaultdict[str, list[Reply]](list)
    for reply in replies:
        if reply.correlation_id is not None:
            messages[reply.correlation_id].append(reply)
    for name, came in messages.items():
        asked = course.asked[int(name)]
        parts = {reply.part: reply.body.decode() for reply in came if reply.part is not None}
        assert all(letter == asked.letters[number] for number, letter in parts.items())
        assert asked.streams or not parts
        last = [reply for reply in came if reply.part is None]
        assert len(last) <= 1, "it is answered once"
        if last and last[0].error is None:
            assert last == came[-1:]
            said = "".join(parts.values()) if asked.streams and parts else last[0].body.decode()
            assert said == asked.letters, "it is the whole reply to this request"
    if course.drain is None:
        left = {f"{n}" for n, each in enumerate(course.asked) if each.is_named and each.ttl is None}
        assert left <= {*named}
    dropped = {a.request.correlation_id for a, ending in running.settled if ending is Settled.DROPPED}
    may_drop = {f"{number % len(course.asked)}" for _, number in course.cancels}
    if course.settings["expired"] == "drop":
        may_drop |= {f"{number}" for number, each in enumerate(course.asked) if each.ttl is not None}
    assert dropped <= may_drop | {None}


@settings(steady, max_examples=80)
@given(courses)
def test_whatever_callers_ask_for_at_once_each_gets_the_reply_to_its_request_and_nothing_of_it_is_kept(
    course: Course,
) -> None:
    play = Play(course)
    replies = trio.run(play.run, clock=MockClock(autojump_threshold=0))
    check(course, replies, play.running)
    assert [service.open for service in play.services] == [0] * len(play.services), "each generator is closed"
