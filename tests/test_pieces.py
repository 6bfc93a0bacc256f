"""A long request is computed piece by piece, in batches with short ones, and answered once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rpcb_trio import (
    FixedPolicy,
    MemoryBroker,
    Outcome,
    Pieces,
    RequestError,
    Success,
    open_client,
    open_worker,
)
from rpcb_trio.events import BatchEvent, EventInstrument
from rpcb_trio.instruments import AuditInstrument, TracingInstrument, read_audit
from rpcb_trio.metrics import MetricsInstrument
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place, push_batch, served
from tests.metrics.samples import value
from tests.scenarios import answers, ask, working
from tests.spans import recording


class Letters:
    """Answers each letter of a body; a body of several is in pieces, one for each letter."""

    def __init__(self) -> None:
        self.open = 0
        """Bodies whose letters are still given out."""

    def decode(self, body: bytes) -> str | Pieces[str]:
        text = body.decode()
        return text if len(text) == 1 else Pieces(self._letters(text))

    def _letters(self, text: str) -> Iterator[str]:
        self.open += 1
        try:
            for letter in text:
                if letter == "?":
                    raise RequestError("no letter")
                yield letter
        finally:
            self.open -= 1

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [ValueError("poison") if item == "!" else item.upper() for item in items]

    def join(self, results: list[str]) -> str:
        return "-".join(results)

    def encode(self, outcome: Outcome[str]) -> bytes:
        return outcome.value.encode() if isinstance(outcome, Success) else outcome.error.code.encode()


async def test_a_request_in_pieces_gets_one_reply_of_them_all(autojump_clock: trio.testing.MockClock) -> None:
    async with served(Letters(), service_time=lambda _: 1.0) as worker:
        assert (await worker.call(b"abc")).body == b"A-B-C"
    assert [batch.size for batch in worker.recorder.batches] == [1, 1, 1]
    assert len(worker.recorder.settled) == 1


async def test_a_short_request_waits_for_one_piece_of_a_long_one_at_most(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ended: dict[bytes, float] = {}

    async with served(Letters(), service_time=lambda _: 1.0) as worker, trio.open_nursery() as nursery:
        begun = trio.current_time()

        async def call(body: bytes, at: float) -> None:
            await trio.sleep(at)
            await worker.call(body)
            ended[body] = trio.current_time() - begun

        nursery.start_soon(call, b"abcdefghij", 0.0)
        nursery.start_soon(call, b"s", 2.5)
        nursery.start_soon(call, b"t", 7.1)
    assert ended[b"s"] <= 4.0 + 0.1
    assert ended[b"t"] <= 9.0 + 0.1
    assert ended[b"abcdefghij"] <= 10.1


async def test_long_requests_take_turns_with_short_ones_that_came_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    batching = FixedPolicy(max_batch_size=2, max_wait=0.05)
    async with (
        served(Letters(), service_time=lambda _: 1.0, batching=batching) as worker,
        trio.open_nursery() as nursery,
    ):
        for body in (b"aaaa", b"bbbb"):
            nursery.start_soon(worker.call, body)
        await trio.sleep(0.5)
        for body in (b"x", b"y"):
            nursery.start_soon(worker.call, body)
    sizes = [sorted(str(each.item) for each in batch.members) for batch in worker.recorder.batches]
    assert sizes == [["a", "b"], ["x", "y"], *[["a", "b"]] * 3]


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"ab!cd", b"infer"),
        (b"!", b"infer"),
        (b"ab?cd", b"request"),
        (b"?b", b"request"),
        (b"", b"decode"),
    ],
)
async def test_a_piece_that_fails_fails_its_request_and_no_other_piece_is_made(
    body: bytes, reply: bytes
) -> None:
    service = Letters()
    replies = await push_batch(service, [b"ok", body, b"x"])
    assert [each.body for each in replies] == [b"O-K", reply, b"X"]
    assert service.open == 0


async def test_where_a_piece_fails_in_a_worker_the_rest_is_closed_and_not_computed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Letters()
    async with served(service, service_time=lambda _: 1.0) as worker:
        assert (await worker.call(b"a!cd")).body == b"infer"
        assert (await worker.call(b"a?cd")).body == b"request"
        assert service.open == 0
    assert len(worker.recorder.batches) == 2 + 1


async def test_a_request_that_expires_between_two_pieces_is_answered_so_and_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Letters()
    batching = FixedPolicy(max_batch_size=1, max_wait=0.0)
    async with served(service, service_time=lambda _: 1.0, batching=batching) as worker:
        with pytest.raises(Exception, match="2"):
            await worker.call(b"abcdef", timeout=2.5)
        await trio.sleep(5)
        assert service.open == 0
    assert len(worker.recorder.batches) == 3


async def test_a_drain_finishes_what_is_in_pieces(autojump_clock: trio.testing.MockClock) -> None:
    broker, recorder = MemoryBroker(), Recorder()
    service = Letters()
    async with open_client(broker) as client, trio.open_nursery() as nursery:
        replies: list[bytes] = []

        async def call(body: bytes) -> None:
            replies.append((await client.call(body, queue="q", timeout=60)).body)

        async with open_worker(
            service,
            broker,
            "q",
            executors=[VirtualExecutor(service.infer, lambda _: 1.0) for _ in range(2)],
            offload=in_place,
            instruments=[recorder],
        ):
            nursery.start_soon(call, b"abcdefg")
            nursery.start_soon(call, b"tuv")
            await trio.sleep(1.5)
    assert sorted(replies) == [b"A-B-C-D-E-F-G", b"T-U-V"]
    assert recorder.left == 0


async def test_a_drain_holds_no_piece_for_more_requests(autojump_clock: trio.testing.MockClock) -> None:
    broker, policy = MemoryBroker(), FixedPolicy(max_batch_size=8, max_wait=1000.0)
    async with working(Letters(), broker, service_time=lambda _: 1.0, batching=policy) as running:
        ask(broker, b"abcd", b"xy")
        await trio.sleep(0.5)
        begun = trio.current_time()
    assert trio.current_time() - begun < 5
    assert answers(broker) == {"abcd": b"A-B-C-D", "xy": b"X-Y"}
    assert running.sizes == [2, 2, 1, 1]


async def test_a_session_that_is_lost_leaves_nothing_open_and_its_request_begins_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service, broker = Letters(), MemoryBroker()
    ask(broker, b"abcd")
    async with working(service, broker, service_time=lambda _: 1.0) as running:
        await trio.sleep(2.5)
        broker.disconnect()
        await running.until_settled(1)
        assert service.open == 0
    assert answers(broker) == {"abcd": b"A-B-C-D"}
    assert running.sizes == [1] * 7


async def test_a_request_in_pieces_begins_anew_with_the_model_that_has_taken_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Doubled(Letters):
        def infer(self, items: list[str]) -> list[str | Exception]:
            return [item * 2 for item in items]

    former = Letters()
    async with served(former, service_time=lambda _: 1.0) as worker, trio.open_nursery() as nursery:

        async def swap() -> None:
            await trio.sleep(1.5)
            following = Doubled()
            await worker.worker.swap(following, executors=[VirtualExecutor(following.infer, lambda _: 1.0)])

        nursery.start_soon(swap)
        assert (await worker.call(b"abc")).body == b"aa-bb-cc"
        assert former.open == 0


@settings(max_examples=40, deadline=None)
@given(
    bodies=st.lists(st.text("abc!?", min_size=0, max_size=5), min_size=1, max_size=8),
    size=st.integers(1, 4),
    executors=st.integers(1, 3),
)
def test_whatever_comes_in_pieces_each_request_gets_its_own_reply_once(
    bodies: list[str], size: int, executors: int
) -> None:
    def due(text: str) -> bytes:
        for letter in text:
            if letter in "!?" and not (letter == "?" and len(text) == 1):
                return b"infer" if letter == "!" else b"request"
        return "-".join(text.upper()).encode() if text else b"decode"

    async def run() -> None:
        service = Letters()
        replies: dict[int, bytes] = {}
        batching = FixedPolicy(max_batch_size=size, max_wait=0.0)
        async with (
            served(service, service_time=lambda b: 0.1 * b, executors=executors, batching=batching) as worker,
            trio.open_nursery() as nursery,
        ):

            async def call(number: int, text: str) -> None:
                await trio.sleep(0.07 * number)
                replies[number] = (await worker.call(text.encode())).body

            for each in enumerate(bodies):
                nursery.start_soon(call, *each)
        assert replies == {number: due(text) for number, text in enumerate(bodies)}
        assert service.open == 0
        assert len(worker.recorder.settled) == len(bodies)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_what_is_counted_published_traced_and_audited_of_pieces_comes_out_even(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry, broker = CollectorRegistry(), MemoryBroker()
    events, audit = EventInstrument(), tmp_path / "audit.jsonl"
    policy = FixedPolicy(max_batch_size=2, max_wait=0.05)
    with recording(monkeypatch) as spans:
        async with working(
            Letters(),
            broker,
            service_time=lambda _: 1.0,
            batching=policy,
            instruments=[MetricsInstrument(registry), events, TracingInstrument(), AuditInstrument(audit)],
        ) as running:
            ask(broker, b"abcdefgh", b"x", b"d!e", b"fg", expiration=3.5)
            await running.until_settled(4)
            gauges = {name: value(registry, f"rpcb_{name}") for name in ("held", "pending")}
    assert gauges == {"held": 0, "pending": 0}
    published = [each for each in await events.buffer.take() if isinstance(each, BatchEvent)]
    assert sorted(each.id for each in published) == sorted(batch.id for batch in running.batches)
    assert published[-1].waiting == 0
    assert len(spans.named("process work")) == len(running.batches) >= 4
    (book,) = read_audit(audit)
    waits = [request.wait for batch in book.batches for request in batch.requests]
    assert min(waits) >= 0
    assert [batch.size for batch in book.batches] == [batch.size for batch in running.batches]


async def test_without_join_the_result_is_the_list_of_the_pieces_results() -> None:
    class Plain:
        def decode(self, body: bytes) -> Any:
            return Pieces(list(body))

        def infer(self, items: list[int]) -> list[int]:
            return items

        def encode(self, outcome: Outcome[list[int]]) -> bytes:
            assert isinstance(outcome, Success)
            return repr(outcome.value).encode()

    (reply,) = await push_batch(Plain(), [b"\1\2\3"])
    assert reply.body == b"[1, 2, 3]"
