"""A caller that gives up: what it has cancelled is not computed, or not answered, wherever it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from prometheus_client import CollectorRegistry

from rpcb_trio import AutoPolicy, FixedPolicy, MemoryBroker, Topology, open_client, open_worker
from rpcb_trio._messages import CallId, Request
from rpcb_trio._pipeline import _cancels
from rpcb_trio._pipeline._cancels import Cancels
from rpcb_trio.batching import Shares
from rpcb_trio.errors import CallerCancelled, CallInterrupted, InferError, ReplyTimeout, Unroutable
from rpcb_trio.events import EventInstrument, StateEvent
from rpcb_trio.instruments import AuditInstrument, LogInstrument, Settled, read_audit
from rpcb_trio.metrics import MetricsInstrument
from rpcb_trio.testing import Recorder, VirtualExecutor, in_place
from tests.metrics.samples import value
from tests.scenarios import ANSWERS, QUEUE, Running, Shouting, answers, ask, working
from tests.spelling import Spelling
from tests.test_pieces import Letters

WITH_CANCEL = Topology(queue=QUEUE, cancel=True)


def cancel(broker: MemoryBroker, *names: str, reply_to: str | None = ANSWERS, key: str = QUEUE) -> None:
    """Give requests up, as a foreign producer would."""
    for name in names:
        broker.publish(b"", exchange="rpcb.cancel", routing_key=key, reply_to=reply_to, correlation_id=name)


def slowly(_: int) -> float:
    return 1.0


def cancelled_by(running: Running) -> list[str]:
    return sorted(
        answer.request.correlation_id or ""
        for answer, ending in running.settled
        if isinstance(answer.error, CallerCancelled) and ending is Settled.DROPPED
    )


@pytest.mark.parametrize(
    ("settings", "at_broker"),
    [({"prefetch": 4}, 2), ({"shares": Shares()}, 0)],
    ids=["in turn", "in shares"],
)
async def test_what_waits_leaves_at_once_and_makes_room_though_all_executors_are_busy(
    autojump_clock: object, settings: dict[str, Any], at_broker: int
) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(
        service, broker, queue=WITH_CANCEL, service_time=slowly, batching=FixedPolicy(2), **settings
    ) as running:
        ask(broker, *(b"good %d" % number for number in range(6)))
        await trio.sleep(0.5)  # 0 is computed, and the others wait
        assert broker.depth(QUEUE) == at_broker
        cancel(broker, "2", "3")
        await trio.lowlevel.checkpoint()
        await running.until_settled(2)
        assert trio.current_time() - running.batches[0].closed == pytest.approx(0.5)
        await trio.testing.wait_all_tasks_blocked()  # the broker has delivered what there is room for
        assert running.worker.held == 4
        await running.until_settled(6)
    assert cancelled_by(running) == ["2", "3"]
    assert sorted(map(str, answers(broker))) == ["0", "1", "4", "5"]
    assert sorted(chain(*service.runs)) == ["good 0", "good 1", "good 4", "good 5"]


async def test_a_batch_that_is_held_for_more_closes_without_it(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, queue=WITH_CANCEL, batching=FixedPolicy(3, max_wait=5.0)) as running:
        ask(broker, b"good 1", b"good 2")
        await trio.sleep(1)
        cancel(broker, "1")
        await running.until_settled(2)
    assert service.runs == [["good 2"]]
    assert trio.current_time() == pytest.approx(5.0)


async def test_where_all_that_waits_is_cancelled_no_batch_is_closed(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, queue=WITH_CANCEL, batching=FixedPolicy(3, max_wait=5.0)) as running:
        ask(broker, b"good 1", b"good 2")
        await trio.sleep(1)
        cancel(broker, "1", "2")
        await running.until_settled(2)
        ask(broker, b"good 3")
        await running.until_settled(3)
    assert service.runs == [["good 3"]]


async def test_what_is_computed_runs_to_its_end_and_its_reply_is_dropped(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, queue=WITH_CANCEL, service_time=slowly) as running:
        ask(broker, b"good 1", b"good 2", b"mute 3")
        await trio.sleep(1.5)
        cancel(broker, "1", "2", "3")
        await running.until_settled(3)
    assert service.runs == [["good 1"], ["good 2", "mute 3"]]
    assert list(answers(broker)) == ["1"], "it was answered by then"
    assert cancelled_by(running) == ["2", "3"]
    assert not running.failures


async def test_what_the_service_does_wrong_is_told_though_its_caller_has_left(autojump_clock: object) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, queue=WITH_CANCEL, service_time=slowly) as running:
        ask(broker, b"sick 1")
        await trio.sleep(0.5)
        cancel(broker, "1")
        await running.until_settled(1)
    assert [type(error) for _, error in running.failures] == [InferError]


async def test_a_cancel_may_come_before_its_request(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, queue=WITH_CANCEL, service_time=slowly, prefetch=64) as running:
        ask(broker, b"good 0")
        cancel(broker, "1", "3")
        await trio.lowlevel.checkpoint()
        ask(broker, b"good 1", b"good 2", b"good 3")
        await running.until_settled(4)
    assert service.runs == [["good 0"], ["good 2"]]
    assert cancelled_by(running) == ["1", "3"]


async def test_each_worker_of_a_queue_hears_of_it_and_the_one_that_has_it_acts(
    autojump_clock: object,
) -> None:
    broker, service = MemoryBroker(), Shouting()
    common: dict[str, Any] = {"queue": WITH_CANCEL, "service_time": slowly, "prefetch": 2}
    one = working(service, broker, batching=FixedPolicy(1), **common)
    other = working(service, broker, batching=FixedPolicy(1), **common)
    async with one as first, other as second:
        ask(broker, *(b"good %d" % number for number in range(8)))
        await trio.sleep(0.5)
        cancel(broker, "2", "3", "7")  # two wait in the workers, and one in the queue
        await trio.sleep(10)
        assert len(first.settled) + len(second.settled) == 8
    assert sorted(map(str, answers(broker))) == ["0", "1", "4", "5", "6"]
    assert len(service.runs) == 5


async def test_a_request_that_is_delivered_again_stays_cancelled(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(service, broker, queue=WITH_CANCEL, service_time=slowly) as running:
        ask(broker, b"good 0", b"good 1")
        await trio.sleep(0.5)
        cancel(broker, "0")
        await trio.sleep(0.1)
        broker.disconnect()  # its batch is not answered
        await running.until_settled(2)
    assert list(answers(broker)) == ["1"]
    assert service.runs == [["good 1"]], "the lost batch came to no end"


@pytest.mark.parametrize(
    "mistaken",
    [
        lambda broker: cancel(broker, "1", reply_to="another"),
        lambda broker: cancel(broker, "1", reply_to=None),
        lambda broker: cancel(broker, "2"),
        lambda broker: cancel(broker, "1", key="another"),
    ],
    ids=["another address", "no address", "another id", "another queue"],
)
async def test_only_who_names_address_and_id_and_queue_cancels_a_request(
    autojump_clock: object, mistaken: Callable[[MemoryBroker], None]
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, queue=WITH_CANCEL, service_time=slowly) as running:
        ask(broker, b"good 0", b"good 1")
        mistaken(broker)
        await running.until_settled(2)
    assert sorted(map(str, answers(broker))) == ["0", "1"]


async def test_requests_of_the_same_name_are_cancelled_together_and_nameless_ones_not_at_all(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, queue=WITH_CANCEL, service_time=slowly) as running:
        ask(broker, b"good 0", b"good 0", b"good 1")
        broker.publish(b"good x", routing_key=QUEUE, reply_to=ANSWERS)
        await trio.sleep(0.5)
        cancel(broker, "0")
        await running.until_settled(4)
    assert cancelled_by(running) == ["0", "0"]
    assert sorted(map(str, answers(broker))) == ["1", "None"]


async def test_without_the_setting_nothing_is_cancelled(autojump_clock: object) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, service_time=slowly) as running:
        ask(broker, b"good 0", b"good 1")
        cancel(broker, "0", "1")
        await running.until_settled(2)
    assert sorted(map(str, answers(broker))) == ["0", "1"]


async def test_one_that_is_decoded_still_is_not_computed(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()

    async def offload(function: Callable[[], Any]) -> Any:
        await trio.sleep(1)
        return function()

    async with working(service, broker, queue=WITH_CANCEL, offload=offload) as running:
        ask(broker, b"good 0", b"good 1")
        await trio.sleep(0.5)
        cancel(broker, "0")
        await running.until_settled(2)
    assert service.runs == [["good 1"]]


async def test_one_whose_batch_is_decoded_anew_for_another_model_is_taken_out_of_it(
    autojump_clock: object,
) -> None:
    broker, first, following = MemoryBroker(), Shouting(), Shouting()
    is_slow = False

    async def offload(function: Callable[[], Any]) -> Any:
        await trio.sleep(1.0 if is_slow else 0.0)
        return function()

    async with working(
        first, broker, queue=WITH_CANCEL, service_time=lambda _: 3.0, batching=FixedPolicy(2), offload=offload
    ) as running:
        ask(broker, b"good 0", b"good 1", b"good 2", b"good 3")
        await trio.sleep(0.5)
        is_slow = True
        await running.worker.swap(following, executors=[VirtualExecutor(following.infer, slowly)])
        cancel(broker, "1")  # while its batch, which is closed, is decoded by the new one
        await running.until_settled(4)
    assert (first.runs, following.runs) == ([["good 0"]], [["good 2"], ["good 3"]])
    assert cancelled_by(running) == ["1"]


@pytest.mark.parametrize("at", [0.5, 1.5, 2.5], ids=["waits", "is computed", "waits again"])
async def test_no_further_piece_of_a_request_in_pieces_is_computed(autojump_clock: object, at: float) -> None:
    broker, service = MemoryBroker(), Letters()
    first = FixedPolicy(1)
    async with working(service, broker, queue=WITH_CANCEL, service_time=slowly, batching=first) as running:
        ask(broker, b"z", b"abcd", b"y")  # z, a, y, b, c and d, in this order, a second each
        await trio.sleep(at)
        cancel(broker, "abcd")
        await running.until_settled(3)
        assert service.open == 0
    assert cancelled_by(running) == ["abcd"]
    assert sorted(answers(broker).values()) == [b"Y", b"Z"]
    assert len(running.batches) == (2 if at < 1 else 3)


async def test_a_generator_stops_once_its_callers_have_given_up(autojump_clock: object) -> None:
    broker, service, recorder = MemoryBroker(), Spelling(), Recorder()
    executor = VirtualExecutor(list, service=service, step_time=slowly)
    how: dict[str, Any] = {"executors": [executor], "offload": in_place, "instruments": [recorder]}
    async with (
        open_worker(service, broker, WITH_CANCEL, batching=FixedPolicy(8, max_wait=0.5), **how) as worker,
        open_client(broker, cancel=True) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(client.call, b"long enough", queue=QUEUE))
        await trio.sleep(0.1)
        parts = client.stream(b"0123456", queue=QUEUE)
        assert (await anext(parts)).body == b"0"
        await parts.aclose()
        await trio.sleep(2.5)
        assert service.gone == [1]
        assert worker.held == 1
        nursery.cancel_scope.cancel()
    assert service.steps < 6
    assert [type(answer.error) for answer, _ in recorder.settled] == [CallerCancelled] * 2
    assert [ending for _, ending in recorder.settled] == [Settled.DROPPED] * 2


async def test_a_cancel_is_remembered_for_a_bounded_time_and_number(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cancels, "MOST_REMEMBERED", 3)
    cancels = Cancels(is_on=True)

    def come(name: str) -> bool:
        request = Request(body=b"", arrived=0.0, reply_to="here", correlation_id=name)
        is_cancelled = bool(cancels.enter([request]))
        cancels.settle([request])
        return is_cancelled

    for number in range(5):
        cancels.take(CallId("here", f"{number}"))
    assert [come(f"{number}") for number in range(5)] == [False, False, True, True, True]
    await trio.sleep(_cancels.REMEMBERED_SECONDS)
    assert not any(come(f"{number}") for number in range(5))


def test_nothing_is_kept_of_who_asks_to_be_told_no_more_or_of_a_request_that_nobody_can_name() -> None:
    cancels = Cancels(is_on=True)
    told: list[str] = []

    def tell() -> None:
        told.append("too late")

    named = Request(body=b"", arrived=0.0, reply_to="here", correlation_id="1")
    nameless = Request(body=b"", arrived=0.0, reply_to="here")

    async def main() -> None:
        cancels.enter([named, nameless])
        cancels.on_cancel(named, tell)
        cancels.on_cancel(nameless, tell)
        cancels.off_cancel(named, tell)
        assert not cancels._called
        cancels.take(CallId("here", "1"))
        cancels.off_cancel(named, tell)

    trio.run(main)
    assert told == []


def test_who_asks_to_be_told_of_a_requests_cancel_is_told_once_and_at_once() -> None:
    async def main() -> None:
        cancels, told = Cancels(is_on=True), list[str]()
        request = Request(body=b"", arrived=0.0, reply_to="here", correlation_id="1")
        cancels.enter([request])
        cancels.on_cancel(request, lambda: told.append("first"))
        cancels.take(CallId("here", "1"))
        cancels.take(CallId("here", "1"))
        assert told == ["first"]
        cancels.on_cancel(request, lambda: told.append("late"))
        assert told == ["first", "late"]

    trio.run(main)


@pytest.mark.parametrize("through", [{"queue": QUEUE}, {"exchange": "works", "routing_key": "rpc"}], ids=str)
async def test_a_client_cancels_what_it_gives_up_by_timeout_or_scope_or_end(
    autojump_clock: object, through: dict[str, Any]
) -> None:
    broker, service = MemoryBroker(), Shouting()
    topology = Topology(queue=QUEUE, exchange="works", routing_keys=("rpc",), cancel=True)
    async with working(service, broker, queue=topology, service_time=slowly) as running:
        async with trio.open_nursery() as outer, open_client(broker, cancel=True) as client:

            async def call(body: bytes, timeout: float = math.inf) -> None:  # noqa: ASYNC109 - the call's own
                await client.call(body, timeout=timeout, **through)

            async def interrupted(body: bytes) -> None:
                with pytest.raises(CallInterrupted):
                    await call(body)

            outer.start_soon(interrupted, b"good 0")
            await trio.sleep(0.5)
            with trio.move_on_after(0.1):
                await call(b"good 1")
            with pytest.raises(ReplyTimeout):
                await call(b"good 2", 0.2)
            await running.until_settled(2)
            assert len(cancelled_by(running)) == 2
        assert client.late_replies == 0
    assert service.runs == [["good 0"]]
    assert len(cancelled_by(running)) == 3, "the client was left before it was answered"


async def test_a_client_tells_nobody_of_what_it_gives_up_unless_it_is_to(autojump_clock: object) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with (
        working(service, broker, queue=WITH_CANCEL, service_time=slowly) as running,
        open_client(broker) as client,
    ):
        with trio.move_on_after(0.5):
            await client.call(b"good 0", queue=QUEUE)
        await running.until_settled(1)
        assert client.late_replies == 1


async def test_a_call_that_ended_otherwise_cancels_nothing(autojump_clock: object) -> None:
    broker, keys = MemoryBroker(), (QUEUE, "nowhere")
    heard = Topology(queue="heard", exchange="rpcb.cancel", exchange_type="direct", routing_keys=keys)
    async with broker.open_session(heard, prefetch=1):
        pass  # it is declared
    async with open_client(broker, cancel=True) as client, working(Shouting(), broker):
        await client.call(b"good 0", queue=QUEUE)
        with pytest.raises(Unroutable):
            await client.call(b"good 1", queue="nowhere")
        assert broker.depth("heard") == 0
        with trio.move_on_after(0):
            await client.call(b"good 2", queue=QUEUE)
        assert broker.depth("heard") == 0, "what was never sent needs none"


async def test_what_is_cancelled_is_told_at_debug_alone(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    async with working(
        Shouting(), broker, queue=WITH_CANCEL, service_time=slowly, instruments=[LogInstrument()]
    ) as running:
        ask(broker, b"good 0", b"good 1")
        await trio.sleep(0.5)
        cancel(broker, "0")
        await running.until_settled(2)
    [line] = [each for each in caplog.records if "cancelled" in each.message]
    assert line.levelno == logging.DEBUG
    assert "'0'" in line.message


async def test_what_is_cancelled_is_counted_and_audited_as_that_and_as_no_failure(
    autojump_clock: object, tmp_path: Path
) -> None:
    broker, registry, events = MemoryBroker(), CollectorRegistry(), EventInstrument()
    audit = tmp_path / "audit.jsonl"
    told = [MetricsInstrument(registry), events, AuditInstrument(audit)]
    async with working(
        Shouting(), broker, queue=WITH_CANCEL, service_time=slowly, instruments=told
    ) as running:
        ask(broker, b"good 0", b"good 1", b"good 2")
        await trio.sleep(0.5)
        cancel(broker, "0", "1")
        await running.until_settled(3)
        events.put_state()
        [*_, state] = [each for each in await events.buffer.take() if isinstance(each, StateEvent)]
        assert value(registry, "rpcb_held") == value(registry, "rpcb_pending") == 0
    assert (state.received, state.answered, state.failed, state.cancelled) == (3, 1, 0, 2)
    outcomes = {
        name: value(registry, "rpcb_requests_total", outcome=name) for name in ("cancelled", "success")
    }
    assert outcomes == {"cancelled": 2, "success": 1}
    [written] = read_audit(audit)
    assert [(each.why, each.request.correlation_id) for each in written.refused] == [("cancelled", "1")]


async def test_a_prefetch_that_follows_asks_for_others_in_the_place_of_what_was_cancelled(
    autojump_clock: object,
) -> None:
    broker, service = MemoryBroker(), Shouting()
    async with working(
        service,
        broker,
        queue=WITH_CANCEL,
        service_time=slowly,
        batching=AutoPolicy(4),
        prefetch_follows=True,
    ) as running:
        ask(broker, *(b"good %d" % number for number in range(40)))
        await trio.sleep(5.5)
        cancel(broker, *map(str, range(0, 40, 2)))
        await running.until_settled(40)
    given_up = len(cancelled_by(running))
    assert given_up >= 8
    assert len(answers(broker)) == 40 - given_up
