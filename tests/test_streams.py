"""Replies in parts, in virtual time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import (
    FixedPolicy,
    MemoryBroker,
    Pieces,
    RemoteError,
    ReplyTimeout,
    Topology,
    open_client,
    open_worker,
)
from rpcb_trio.errors import StreamChanged, StreamOverrun
from rpcb_trio.instruments import Settled
from rpcb_trio.streaming import ReplyStream, Step, by_item
from rpcb_trio.testing import Recorder, Served, VirtualExecutor, in_place, served
from tests.scenarios import steady
from tests.spelling import Spelling

QUEUE = "Spelling"
ASKS = {"rpcb-stream": True}


def serving(service: Any, **settings: Any) -> AbstractAsyncContextManager[Served]:
    """A batch is closed half a second after its first request, and takes a step each second."""
    defaults = {"step_time": lambda _: 1.0, "batching": FixedPolicy(8, max_wait=0.5)}
    return served(service, **{**defaults, **settings})


def working(broker: MemoryBroker, service: Any, recorder: Recorder) -> Any:
    executor = VirtualExecutor(list, service=service, step_time=lambda _: 1.0)
    return open_worker(
        service, broker, QUEUE, executors=[executor], offload=in_place, instruments=[recorder], prefetch=64
    )


async def letters(worker: Served, text: bytes) -> list[bytes]:
    return [part.body async for part in worker.stream(text)]


async def read(parts: ReplyStream, came: list[bytes]) -> None:
    async for part in parts:
        came.append(part.body)  # noqa: PERF401 - what came before an error is kept


async def whole(worker: Served, text: bytes) -> bytes:
    return (await worker.call(text)).body


async def side_by_side(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    results = dict[int, Any]()

    async def note(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[number] = await call()

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(note, number, call)
            await trio.testing.wait_all_tasks_blocked()  # so that they come in this order
    return [results[number] for number in range(len(calls))]


async def test_each_part_comes_when_it_is_computed(autojump_clock: MockClock) -> None:
    async with serving(Spelling()) as worker:
        came = [(part.body, part.part, trio.current_time()) async for part in worker.stream(b"abc")]
        assert trio.current_time() == 3.5
    assert came == [(b"a", 0, 0.5), (b"b", 1, 1.5), (b"c", 2, 2.5)]


async def test_the_last_message_is_marked_and_until_it_is_confirmed_the_request_is_open(
    autojump_clock: MockClock,
) -> None:
    async with serving(Spelling()) as worker:
        broker = worker.broker
        broker.declare("replies")
        broker.publish(b"ab", routing_key=QUEUE, reply_to="replies", correlation_id="7", headers=ASKS)
        await trio.sleep(1.75)
        assert (broker.depth("replies"), worker.worker.held) == (2, 1)
        await trio.sleep(1)
        assert (broker.depth("replies"), worker.worker.held) == (3, 0)
        messages = [broker.get("replies") for _ in range(3)]
    assert [each and (each.body, each.correlation_id, each.headers) for each in messages] == [
        (b"a", "7", {"rpcb-part": 0}),
        (b"b", "7", {"rpcb-part": 1}),
        (b"", "7", {"rpcb-end": True}),
    ]


async def test_a_caller_that_does_not_ask_for_parts_gets_one_reply(autojump_clock: MockClock) -> None:
    async with serving(Spelling()) as worker:
        assert await side_by_side(
            partial(whole, worker, b"alone"), partial(letters, worker, b"ab"), partial(whole, worker, b"b!")
        ) == [b"alone", [b"a", b"b"], b"failed:infer"]
        assert await whole(worker, b"nobody asks") == b"nobody asks"
    assert [batch.size for batch in worker.recorder.batches] == [3, 1]


async def test_a_service_may_join_its_parts_itself_and_compute_otherwise_where_nobody_wants_parts(
    autojump_clock: MockClock,
) -> None:
    class Dashing(Spelling):
        def join(self, parts: list[str]) -> str:
            return "-".join(parts)

    class Whole(Spelling):
        def infer(self, items: list[str]) -> list[str]:
            return [f"whole {item}" for item in items]

    async with serving(Dashing()) as worker:
        assert await whole(worker, b"abc") == b"a-b-c"
    async with serving(Whole()) as worker:
        assert await whole(worker, b"abc") == b"whole abc"
        assert await letters(worker, b"abc") == [b"a", b"b", b"c"]


async def test_an_infer_that_is_none_is_no_infer_and_the_parts_are_joined(autojump_clock: MockClock) -> None:
    class Overridden(Spelling):
        infer = None

    async with serving(Overridden()) as worker:
        assert await whole(worker, b"abc") == b"abc"


async def test_a_function_that_yields_is_a_service(autojump_clock: MockClock) -> None:
    def spell(bodies: list[bytes]) -> Iterator[Step[bytes]]:
        yield from by_item([body[at : at + 1] for at in range(len(body))] for body in bodies)

    async with serving(spell) as worker:
        assert await letters(worker, b"abc") == [b"a", b"b", b"c"]
        assert await whole(worker, b"abc") == b"abc"


async def test_a_short_reply_is_complete_before_the_long_one_beside_it(autojump_clock: MockClock) -> None:
    async def ended(worker: Served, text: bytes) -> float:
        await letters(worker, text)
        return trio.current_time()

    async with serving(Spelling()) as worker:
        assert await side_by_side(partial(ended, worker, b"abcdef"), partial(ended, worker, b"a")) == [
            6.5,
            1.5,
        ]
    assert [answer.request.body for answer, _ in worker.recorder.settled] == [b"a", b"abcdef"]


async def test_an_item_that_fails_ends_with_the_error_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async def fail(worker: Served) -> list[bytes]:
        came = list[bytes]()
        with pytest.raises(RemoteError, match="ValueError") as failed:
            await read(worker.stream(b"ab!d"), came)
        assert (failed.value.code, failed.value.body) == ("infer", b"failed:infer")
        assert failed.value.reply.is_last
        return came

    async with serving(Spelling()) as worker:
        assert await side_by_side(partial(fail, worker), partial(letters, worker, b"efghi")) == [
            [b"a", b"b"],
            [b"e", b"f", b"g", b"h", b"i"],
        ]


async def test_a_batch_that_raises_begins_anew_and_no_part_comes_twice(autojump_clock: MockClock) -> None:
    service = Spelling()
    async with serving(service) as worker:

        async def fail() -> str:
            with pytest.raises(RemoteError) as failed:
                await letters(worker, b"ab*")
            return failed.value.code

        calls = [partial(letters, worker, text) for text in (b"abcd", b"efgh", b"ijkl")]
        assert await side_by_side(fail, *calls) == [
            "infer",
            *([text[at : at + 1] for at in range(4)] for text in (b"abcd", b"efgh", b"ijkl")),
        ]
    assert service.runs == [
        ["ab*", "abcd", "efgh", "ijkl"],
        ["ab*", "abcd"],
        ["ab*"],
        ["abcd"],
        ["efgh", "ijkl"],
    ]
    assert len(worker.recorder.parts) == 14


async def test_a_reply_that_begins_anew_otherwise_ends_with_an_error(autojump_clock: MockClock) -> None:
    runs = list[int]()

    def fickle(bodies: list[bytes]) -> Iterator[Step[bytes]]:
        runs.append(len(bodies))
        for number in range(3):
            yield dict.fromkeys(range(len(bodies)), b"%d in run %d" % (number, len(runs)))
            if len(bodies) > 1 and number == 1:
                raise ValueError

    async def fail(worker: Served) -> list[bytes]:
        came = list[bytes]()
        with pytest.raises(RemoteError, match="yielded other parts than before"):
            await read(worker.stream(b""), came)
        return came

    async with serving(fickle) as worker:
        assert (
            await side_by_side(partial(fail, worker), partial(fail, worker))
            == [[b"0 in run 1", b"1 in run 1"]] * 2
        )


async def test_a_generator_learns_who_has_left_and_computes_the_others(autojump_clock: MockClock) -> None:
    service = Spelling()
    async with serving(service) as worker, trio.open_nursery() as nursery:
        nursery.start_soon(partial(letters, worker, b"abcdef"))
        async with open_client(worker.broker) as leaving:
            await trio.sleep(0.1)
            async for part in leaving.stream(b"0123456", queue=QUEUE):
                if part.body == b"1":
                    break
    assert service.gone == [1]
    assert service.steps == 6
    assert [ending for _, ending in worker.recorder.settled] == [Settled.UNROUTABLE, Settled.REPLIED]


async def test_where_all_have_left_the_generator_is_closed(autojump_clock: MockClock) -> None:
    service = Spelling()
    async with serving(service) as worker, open_client(worker.broker) as leaving:
        async for _ in leaving.stream(b"0123456", queue=QUEUE):
            break
    assert service.steps < 4


async def test_no_step_is_computed_for_a_caller_whose_time_is_over(autojump_clock: MockClock) -> None:
    service = Spelling()
    async with serving(service) as worker:
        with pytest.raises(ReplyTimeout, match="not complete within 3 s"):
            await read(worker.stream(b"0123456", timeout=3), [])
        await trio.sleep(10)
        assert worker.worker.held == 0
    assert service.steps == 3


async def test_a_part_that_does_not_come_in_time_ends_the_stream(autojump_clock: MockClock) -> None:
    came = list[bytes]()
    async with serving(Spelling(), step_time=lambda _: 5.0) as worker:
        with pytest.raises(ReplyTimeout, match="no further part from Spelling within 3 s"):
            await read(worker.client.stream(b"ab", queue=QUEUE, part_timeout=3), came)
    assert came == [b"a"]


async def test_where_a_worker_is_lost_the_reply_begins_anew_and_no_part_comes_twice(
    autojump_clock: MockClock,
) -> None:
    broker, recorder, came = MemoryBroker(), Recorder(), list[bytes]()
    broker.declare(QUEUE)
    async with open_client(broker) as client, trio.open_nursery() as nursery:

        async def call() -> None:
            came.extend([part.body async for part in client.stream(b"abcd", queue=QUEUE)])

        nursery.start_soon(call)
        with trio.move_on_after(2.5):
            async with working(broker, Spelling(), recorder):
                await trio.sleep_forever()
        assert len(recorder.parts) == 3
        async with working(broker, Spelling(), recorder):
            await trio.sleep(10)
    assert came == [b"a", b"b", b"c", b"d"]
    assert [part.request.redelivered for part in recorder.parts] == [False] * 3 + [True] * 4


async def test_where_it_begins_anew_with_other_parts_the_caller_learns_of_it(
    autojump_clock: MockClock,
) -> None:
    came = list[bytes]()
    async with serving(Spelling()) as worker:
        broker = worker.broker
        broker.declare("other")
        session = broker.open_session(Topology(queue="other"), prefetch=1)
        async with session as opened, trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(StreamChanged, match="another part 0"):
                    await read(worker.client.stream(b"", queue="other"), came)

            nursery.start_soon(call)
            request = await opened.requests.receive()
            for body in (b"before", b"after"):
                broker.publish(
                    body,
                    routing_key=request.reply_to or "",
                    correlation_id=request.correlation_id,
                    headers={"rpcb-part": 0},
                )
    assert came == [b"before"]


async def test_parts_that_nobody_reads_end_the_stream_and_no_other_call(autojump_clock: MockClock) -> None:
    came = list[bytes]()
    async with serving(Spelling()) as worker:
        parts = worker.client.stream(b"0123456789", queue=QUEUE, max_unread=4 * 1100)
        came.append((await parts.__anext__()).body)
        assert await letters(worker, b"abc") == [b"a", b"b", b"c"]
        with pytest.raises(StreamOverrun, match="wait to be read, and 4400 are allowed"):
            await read(parts, came)
    assert came == [b"%d" % number for number in range(5)]


class Paged(Spelling):
    """Spells page after page of a text; a page ends at a bar."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    def decode(self, body: bytes) -> Any:
        pages = body.decode().split("|")
        return Pieces(self._counted(pages)) if len(pages) > 1 else pages[0]

    def _counted(self, pages: list[str]) -> Iterator[str]:
        for page in pages:
            self.pages += 1
            yield page

    def join(self, results: list[str]) -> str:
        return "".join(results)


class PagedWhole(Paged):
    """Computes a page as a whole."""

    stream_infer = None  # type: ignore[assignment] # it has none

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [ValueError("a bad letter") if "!" in item else item for item in items]


async def test_each_piece_of_a_request_in_pieces_is_a_part_and_may_have_parts_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async with serving(Paged()) as worker:
        assert await letters(worker, b"ab|c|de") == [b"a", b"b", b"c", b"d", b"e"]
        assert await whole(worker, b"ab|c|de") == b"abcde"
        assert [part.part async for part in worker.stream(b"ab|c")] == [0, 1, 2]
    async with serving(PagedWhole()) as worker:
        assert await side_by_side(partial(letters, worker, b"ab|c|de"), partial(whole, worker, b"f|g")) == [
            [b"ab", b"c", b"de"],
            b"fg",
        ]


@pytest.mark.parametrize("kind", [Paged, PagedWhole], ids=["by parts", "whole"])
async def test_where_a_piece_fails_or_its_caller_leaves_no_further_one_is_computed(
    kind: type[Paged], autojump_clock: MockClock
) -> None:
    service, came = kind(), list[bytes]()
    async with serving(service) as worker:
        with pytest.raises(RemoteError, match="ValueError"):
            await read(worker.stream(b"a|!|c|d|e|f"), came)
        async with open_client(worker.broker) as leaving:
            async for _ in leaving.stream(b"1|2|3|4|5|6", queue=kind.__name__):
                break
    assert came == [b"a"]
    assert service.pages < 8
    assert [ending for _, ending in worker.recorder.settled] == [Settled.REPLIED, Settled.UNROUTABLE]


async def test_a_drain_waits_for_the_last_part(autojump_clock: MockClock) -> None:
    async with serving(Spelling()) as worker, trio.open_nursery() as nursery:
        nursery.start_soon(letters, worker, b"abcdef")
        await trio.sleep(1)
        worker.worker.drain()
    assert worker.recorder.drain_steps == ["stop consuming", "finish 1 request(s)", "drained"]
    assert [ending for _, ending in worker.recorder.settled] == [Settled.REPLIED]


async def test_a_service_that_does_not_stream_sends_one_part(autojump_clock: MockClock) -> None:
    def shout(bodies: list[bytes]) -> list[bytes]:
        return [body.upper() for body in bodies]

    async with serving(shout) as worker:
        parts = [(part.body, part.part, part.is_last) async for part in worker.stream(b"a")]
    assert parts == [(b"A", None, True)]


async def test_a_request_that_is_refused_ends_its_stream_with_the_error(autojump_clock: MockClock) -> None:
    async with serving(Spelling()) as worker:
        with pytest.raises(RemoteError) as refused:
            await letters(worker, b"\xff")
    assert refused.value.code == "decode"


@pytest.mark.parametrize(
    ("step", "why"),
    [(["a"], "not list"), ({1: "a"}, "is none of 1 item")],
    ids=["no map", "an unknown item"],
)
async def test_what_is_no_step_is_an_error_that_says_so(
    step: Any, why: str, autojump_clock: MockClock
) -> None:
    def wrong(_: list[bytes]) -> Iterator[Any]:
        yield step

    async with serving(wrong) as worker:
        with pytest.raises(RemoteError, match=why):
            await letters(worker, b"")
        with pytest.raises(RemoteError, match=why):
            (await worker.call(b"")).raise_for_error()


class Plan(NamedTuple):
    """A caller: what it sends, when, and how many parts it reads before it leaves."""

    text: str
    at: int
    in_parts: bool
    reads: int


plans = st.lists(
    st.builds(
        Plan,
        st.text("ab!*", max_size=4),
        st.integers(0, 6).map(lambda each: each / 2),
        st.booleans(),
        st.integers(0, 6),
    ),
    max_size=8,
)


@settings(steady, max_examples=50)
@given(plans=plans, executors=st.integers(1, 2), size=st.integers(1, 4))
def test_whatever_comes_together_each_caller_gets_its_own_parts_in_order(
    plans: list[Plan], executors: int, size: int
) -> None:
    async def call(worker: Served, plan: Plan) -> None:
        await trio.sleep(plan.at)
        text = plan.text.encode()
        good = re.split(rb"[!*]", text)[0]
        if not plan.in_parts:
            reply = await worker.call(text)
            assert reply.body == text if reply.error is None else text != good
            return
        came = list[bytes]()
        async with open_client(worker.broker) as client:
            try:
                async for part in client.stream(text, queue=QUEUE):
                    came.append(part.body)
                    if len(came) > plan.reads:
                        break
                else:
                    assert text == good
            except RemoteError:
                assert b"".join(came) == good != text
        assert b"".join(came) == good[: plan.reads + 1]

    async def run() -> Recorder:
        policy = FixedPolicy(size, max_wait=0.5)
        async with (
            serving(Spelling(), batching=policy, executors=executors) as worker,
            trio.open_nursery() as all_,
        ):
            for plan in plans:
                all_.start_soon(call, worker, plan)
        return worker.recorder

    recorder = trio.run(run, clock=MockClock(autojump_threshold=0))
    assert len(recorder.settled) == len({id(answer.request) for answer, _ in recorder.settled}) == len(plans)
    assert recorder.left == 0
