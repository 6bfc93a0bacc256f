"""The path of a request through the worker: each gets its own answer, and a bad one spoils nobody."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import Failure, FixedPolicy, MemoryBroker, Outcome, RequestError, ServiceError, Success
from rpcb_trio.batching import Trigger
from rpcb_trio.instruments import Settled
from rpcb_trio.testing import VirtualExecutor, push_batch
from tests.scenarios import ANSWERS, QUEUE, Shouting, answers, ask, expected, taken, working


async def test_every_request_is_answered_with_its_own_result(autojump_clock: MockClock) -> None:
    broker, bodies = MemoryBroker(), [b"good %d" % n for n in range(100)]
    ask(broker, *bodies)
    async with working(
        Shouting(), broker, batching=FixedPolicy(8), executors=3, service_time=lambda b: b
    ) as running:
        await running.until_settled(100)
    assert answers(broker) == {f"{n}": b"ok:GOOD %d" % n for n in range(100)}
    assert running.endings == {Settled.REPLIED: 100}
    assert broker.depth(QUEUE) == 0


async def test_the_replies_of_one_batch_tell_who_failed_and_harm_no_batch_mate(
    autojump_clock: MockClock,
) -> None:
    broker, bodies = (
        MemoryBroker(),
        [b"good 1", b"sick 2", b"\xff 3", b"good 4", b"mute 5", b"poison 6", b"good 7"],
    )
    ask(broker, *bodies)
    async with working(Shouting(), broker, batching=FixedPolicy(max_wait=0.1)) as running:
        pass
    assert answers(broker) == {body.split()[-1].decode(): expected(body)[0] for body in bodies}
    assert running.sizes == [6], "the undecodable one never gets into a batch"
    codes = Counter(error.code for _, error in running.failures)
    assert codes == {"infer": 2, "decode": 1, "encode": 1}


async def test_an_error_reply_carries_its_code_in_a_header_and_the_services_content_type(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"sick 1", b"good 2")
    async with working(Shouting(), broker):
        pass
    replies = {reply.correlation_id: reply for reply in taken(broker)}
    assert (replies["1"].error, replies["2"].error) == ("infer", None)
    assert {reply.content_type for reply in replies.values()} == {"text/plain"}


@pytest.mark.parametrize("culprit", range(8))
async def test_a_batch_that_raises_is_split_until_the_culprit_stands_alone(
    culprit: int, autojump_clock: MockClock
) -> None:
    service = Shouting()
    bodies = [b"poison %d" % n if n == culprit else b"good %d" % n for n in range(8)]
    replies = await push_batch(service, bodies)
    assert [reply.body for reply in replies] == [expected(body)[0] for body in bodies]
    assert len(service.runs) == 1 + 2 * 3, "one run, then two halves at each of log2(8) levels"
    assert [run for run in service.runs if len(run) == 1 and run[0].startswith("poison")]


async def test_a_batch_in_which_all_fail_costs_at_most_two_runs_each(autojump_clock: MockClock) -> None:
    service = Shouting()
    replies = await push_batch(service, [b"poison %d" % n for n in range(8)])
    assert {reply.body for reply in replies} == {b"failed:infer"}
    assert len(service.runs) == 2 * 8 - 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda items: items[:-1], id="too few"),
        pytest.param(lambda items: [*items, b"more"], id="too many"),
        pytest.param(lambda _: None, id="None"),
        pytest.param(lambda _: b"abc", id="bytes"),
        pytest.param(dict.fromkeys, id="a mapping"),
        pytest.param(iter, id="an iterator"),
    ],
)
async def test_what_is_not_one_result_for_each_item_is_answered_with_an_error(
    wrong: object, autojump_clock: MockClock
) -> None:
    replies = await push_batch(wrong, [b"a", b"b", b"c"])
    assert [reply.error for reply in replies] == ["result-count"] * 3


async def test_a_batch_with_the_wrong_count_is_tried_item_by_item(autojump_clock: MockClock) -> None:
    replies = await push_batch(lambda items: items[:1], [b"a", b"b", b"c"])
    assert [reply.body for reply in replies] == [b"a", b"b", b"c"]


class Stumbling(Shouting):
    """Can't even encode its errors."""

    def encode(self, outcome: Outcome[str]) -> bytes:
        if isinstance(outcome, Failure):
            raise TypeError("no shape for errors")
        return super().encode(outcome)


async def test_an_encode_that_fails_at_an_error_leaves_an_answer_and_hides_no_cause(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    good, mute, sick = await push_batch(Stumbling(), [b"good 1", b"mute 2", b"sick 3"])
    assert good.body == b"ok:GOOD 1"
    assert (mute.error, mute.body) == ("encode", b"encode: the result could not be encoded")
    assert (sick.error, sick.body) == ("infer", b"infer: infer failed: ValueError")
    [_, told] = caplog.messages
    assert "infer failed" in told
    assert "could not be encoded" in told


class Careless(Shouting):
    """Encodes to text, not bytes."""

    def encode(self, outcome: Outcome[str]) -> bytes:
        return super().encode(outcome).decode()  # type: ignore[return-value] # a wrong type is the point


async def test_an_encode_that_returns_no_bytes_fails_its_request_and_not_the_worker(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Careless(), broker) as running:
        pass
    assert answers(broker) == {"1": b"encode: the result could not be encoded"}
    assert running.endings == {Settled.REPLIED: 1}


class TooLong(RequestError):
    code = "too-long"


class Strict(Shouting):
    """Refuses requests with an error of its own, from each of its hooks."""

    def decode(self, body: bytes) -> str:
        return self._refuse("decode", super().decode(body))

    def infer(self, items: list[str]) -> list[str | Exception]:
        return [TooLong() if item.startswith("infer") else item for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        match outcome:
            case Success(value=value):
                return self._refuse("encode", value).encode()
            case Failure(error=error):
                return type(error).__name__.encode()

    def _refuse(self, hook: str, text: str) -> str:
        if text.startswith(hook):
            raise TooLong
        return text


async def test_a_request_error_of_the_services_own_reaches_its_encode_from_every_hook(
    autojump_clock: MockClock,
) -> None:
    replies = await push_batch(Strict(), [b"decode 1", b"infer 2", b"encode 3", b"good 4"])
    assert [reply.error for reply in replies] == ["too-long", "too-long", "too-long", None]
    assert [reply.body for reply in replies[:3]] == [b"TooLong"] * 3


async def test_a_service_error_raised_for_a_whole_batch_is_isolated_like_any_other(
    autojump_clock: MockClock,
) -> None:
    def infer(items: list[bytes]) -> list[bytes]:
        if b"bad" in items:
            raise ServiceError("the model is unwell")
        return items

    good, bad = await push_batch(infer, [b"good", b"bad"])
    assert (good.body, bad.body) == (b"good", b"service: the model is unwell")


async def test_a_request_without_reply_to_is_computed_and_acked(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Shouting()
    ask(broker, b"good 1", reply_to=None)
    async with working(service, broker) as running:
        pass
    assert service.runs == [["good 1"]]
    assert running.endings == {Settled.NO_REPLY_TO: 1}
    assert broker.depth(QUEUE) == 0


async def test_a_request_without_correlation_id_is_answered_with_none(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker)
    broker.publish(b"good 1", routing_key=QUEUE, reply_to=ANSWERS)
    async with working(Shouting(), broker):
        pass
    assert answers(broker) == {None: b"ok:GOOD 1"}


async def test_a_reply_queue_that_has_vanished_stops_nobody_else(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1", reply_to="gone")
    ask(broker, b"good 2")
    async with working(Shouting(), broker) as running:
        pass
    assert answers(broker) == {"2": b"ok:GOOD 2"}
    assert running.endings == {Settled.UNROUTABLE: 1, Settled.REPLIED: 1}


async def test_an_expired_request_gets_an_error_reply_and_is_not_computed(autojump_clock: MockClock) -> None:
    broker, service = MemoryBroker(), Shouting()
    ask(broker, b"good 1")
    async with working(service, broker, service_time=lambda _: 10.0) as running:
        await trio.sleep(1)
        ask(broker, b"brief 2", expiration=5.0)
        await trio.sleep(20)
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": b"failed:expired"}
    assert service.runs == [["good 1"]]
    assert [error.code for _, error in running.failures] == ["expired"]


async def test_replicas_share_the_work(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    shares = [Shouting() for _ in range(3)]
    replicas = [VirtualExecutor(each.infer, lambda _: 1.0) for each in shares]
    ask(broker, *(b"good %d" % n for n in range(24)))
    started = trio.current_time()
    async with working(Shouting(), broker, executors=replicas, batching=FixedPolicy(4, 0.1)) as running:
        await running.until_settled(24)
    assert trio.current_time() - started == 2.0, "six batches of a second each, three at a time"
    assert [len(each.runs) for each in shares] == [2, 2, 2]
    assert running.sizes == [4] * 6


async def test_the_wait_for_a_batch_ends_with_the_drain(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    ask(broker, b"good 1")
    async with working(Shouting(), broker, batching=FixedPolicy(4, max_wait=60)) as running:
        await trio.sleep(5)
    (batch,) = running.batches
    assert (batch.trigger, batch.waits) == (Trigger.FLUSH, (5.0,))
