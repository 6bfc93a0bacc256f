"""`RpcClient`: many calls at once, each with one ending, and a named error for whatever is not a reply."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import (
    FixedPolicy,
    MemoryBroker,
    RemoteError,
    Reply,
    ReplyTimeout,
    Request,
    RpcClient,
    SettingError,
    Topology,
    open_client,
)
from rpcb_trio._messages import Outgoing
from rpcb_trio._transports import CallerSession, Session
from rpcb_trio.errors import (
    CallInterrupted,
    PublishRefused,
    RequestTooBig,
    RpcbError,
    SessionLost,
    Unroutable,
)
from tests.scenarios import QUEUE, Shouting, working


def silent_broker() -> MemoryBroker:
    """Has the queue, and no worker."""
    broker = MemoryBroker()
    broker.declare(QUEUE)
    return broker


async def next_request(broker: MemoryBroker) -> Request:
    """What lies in the queue, as a worker sees it."""
    async with broker.open_session(Topology(queue=QUEUE), prefetch=1) as session:
        return await session.requests.receive()


class Unreachable(MemoryBroker):
    """A broker that can't be reached."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        await trio.lowlevel.checkpoint()
        raise SessionLost("connection refused")
        yield


async def test_many_calls_at_once_get_each_its_own_reply(autojump_clock: MockClock) -> None:
    broker, replies = MemoryBroker(), dict[int, Reply]()

    async def call(client: RpcClient, number: int) -> None:
        replies[number] = await client.call(b"good %d" % number, queue=QUEUE)

    async with (
        working(Shouting(), broker, batching=FixedPolicy(8), executors=3, service_time=lambda b: b / 10),
        open_client(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(call, client, number)
    assert {number: reply.body for number, reply in replies.items()} == {
        n: b"ok:GOOD %d" % n for n in range(100)
    }
    assert client.late_replies == 0


async def test_an_error_reply_is_returned_as_a_reply_and_raised_when_asked(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker), open_client(broker) as client:
        good = await client.call(b"good 1", queue=QUEUE)
        sick = await client.call(b"sick 2", queue=QUEUE)
    assert good.raise_for_error() is good
    assert (sick.body, sick.error) == (b"failed:infer", "infer")
    with pytest.raises(RemoteError, match="infer") as raised:
        sick.raise_for_error()
    assert raised.value.reply is sick
    assert (raised.value.code, raised.value.kind, raised.value.body) == ("infer", "service", b"failed:infer")


async def test_a_call_to_a_queue_that_is_not_there_is_unroutable_at_once(autojump_clock: MockClock) -> None:
    async with open_client(MemoryBroker()) as client:
        with pytest.raises(Unroutable):
            await client.call(b"x", queue="nowhere")


async def test_a_call_by_exchange_and_routing_key_finds_its_queue(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    topology = Topology(queue=QUEUE, exchange="seExchange", routing_keys=("rpc",))
    async with broker.open_session(topology, prefetch=1) as session, open_client(broker) as client:
        with pytest.raises(ReplyTimeout, match="no reply from seExchange/rpc within 1 s"):
            await client.call(b"x", exchange="seExchange", routing_key="rpc", timeout=1)
        assert session.requests.receive_nowait().body == b"x"


async def test_a_call_without_a_reply_ends_after_its_timeout(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    async with open_client(silent_broker()) as client:
        with pytest.raises(ReplyTimeout, match=r"no reply from work within 2\.5 s"):
            await client.call(b"x", queue=QUEUE, timeout=2.5)
    assert trio.current_time() - started == 2.5


async def test_the_timeout_travels_as_the_requests_expiration(autojump_clock: MockClock) -> None:
    broker = silent_broker()
    async with open_client(broker) as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.call, b"x", queue=QUEUE, timeout=2.5))
        nursery.start_soon(partial(client.call, b"y", queue=QUEUE, timeout=math.inf))
        deadlines = {}
        async with broker.open_session(Topology(queue=QUEUE), prefetch=2) as session:
            for _ in range(2):
                request = await session.requests.receive()
                deadlines[request.body] = request.deadline
        nursery.cancel_scope.cancel()
    assert deadlines == {b"x": trio.current_time() + 2.5, b"y": None}


async def test_headers_and_priority_travel_with_the_request(autojump_clock: MockClock) -> None:
    broker = silent_broker()
    async with open_client(broker) as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.call, b"x", queue=QUEUE, headers={"lang": "en"}, priority=7))
        request = await next_request(broker)
        nursery.cancel_scope.cancel()
    assert (request.headers, request.priority) == ({"lang": "en"}, 7)


async def test_replies_that_nobody_awaits_any_more_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, service_time=lambda _: 10.0), open_client(broker) as client:
        with pytest.raises(ReplyTimeout):
            await client.call(b"good 1", queue=QUEUE, timeout=5)
        with trio.move_on_after(5):
            await client.call(b"good 2", queue=QUEUE)
        reply = await client.call(b"good 3", queue=QUEUE)
        assert reply.body == b"ok:GOOD 3"
        assert client.late_replies == 2


async def test_the_second_reply_to_a_call_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    broker = silent_broker()

    async def answer_twice() -> None:
        request = await next_request(broker)
        assert request.reply_to is not None
        for body in (b"first", b"second"):
            broker.publish(body, routing_key=request.reply_to, correlation_id=request.correlation_id)

    async with open_client(broker) as client, trio.open_nursery() as nursery:
        nursery.start_soon(answer_twice)
        assert (await client.call(b"x", queue=QUEUE)).body == b"first"
        await trio.sleep(1)
        assert client.late_replies == 1


async def test_a_reply_with_a_foreign_correlation_id_or_none_is_dropped(autojump_clock: MockClock) -> None:
    broker = silent_broker()
    async with open_client(broker) as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.call, b"x", queue=QUEUE))
        request = await next_request(broker)
        assert request.reply_to is not None
        for foreign in ("someone else's", None):
            broker.publish(b"?", routing_key=request.reply_to, correlation_id=foreign)
        await trio.sleep(1)
        assert client.late_replies == 2
        nursery.cancel_scope.cancel()


async def test_a_disconnect_interrupts_the_calls_under_way_and_later_ones_wait_for_the_reconnect(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker, service_time=lambda _: 10.0), open_client(broker) as client:

        async def call_in_vain() -> None:
            with pytest.raises(CallInterrupted, match="connection was lost"):
                await client.call(b"good 1", queue=QUEUE)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call_in_vain)
            await trio.sleep(5)
            broker.disconnect()
        assert (await client.call(b"good 2", queue=QUEUE)).body == b"ok:GOOD 2"


async def test_a_client_that_cannot_even_start_says_why_with_a_bare_error(autojump_clock: MockClock) -> None:
    with pytest.raises(SessionLost, match="connection refused"):
        async with open_client(Unreachable()):
            pass


async def test_a_wait_for_a_lost_broker_ends_with_the_calls_timeout(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = silent_broker()
    async with open_client(broker) as client:
        monkeypatch.setattr(broker, "open_caller", Unreachable().open_caller)
        broker.disconnect()
        await trio.sleep(60)
        started = trio.current_time()
        with pytest.raises(ReplyTimeout):
            await client.call(b"x", queue=QUEUE, timeout=45)
        assert trio.current_time() - started == 45


async def test_an_error_of_the_clients_user_leaves_it_unwrapped(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_client(MemoryBroker()):
            raise ZeroDivisionError


async def test_leaving_a_client_ends_the_calls_that_other_tasks_have_under_way(
    autojump_clock: MockClock,
) -> None:
    async def call_in_vain() -> None:
        with pytest.raises(CallInterrupted, match="closed"):
            await client.call(b"x", queue=QUEUE, timeout=math.inf)

    async with trio.open_nursery() as nursery:
        async with open_client(silent_broker()) as client:
            nursery.start_soon(call_in_vain)
            await trio.sleep(1)
        with pytest.raises(CallInterrupted, match="closed"):
            await client.call(b"x", queue=QUEUE)


async def test_a_destination_is_a_queue_or_an_exchange_with_a_key_and_not_both(
    autojump_clock: MockClock,
) -> None:
    async with open_client(MemoryBroker()) as client:
        with pytest.raises(SettingError, match="not both"):
            await client.call(b"x", queue="q", exchange="e")
        with pytest.raises(SettingError, match="not both"):
            await client.call(b"x", queue="q", routing_key="k")
        with pytest.raises(SettingError, match="give queue, or"):
            await client.call(b"x", exchange="e")


async def test_a_body_that_is_no_bytes_is_refused_in_one_line(autojump_clock: MockClock) -> None:
    async with open_client(silent_broker()) as client:
        with pytest.raises(TypeError, match=r"^the body of a request must be bytes, not str$"):
            await client.call("text", queue=QUEUE)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("seconds", [0, -1, math.nan, "5s"])
async def test_a_senseless_timeout_is_refused(seconds: float, autojump_clock: MockClock) -> None:
    async with open_client(silent_broker()) as client:
        with pytest.raises(SettingError, match="timeout is"):
            await client.call(b"x", queue=QUEUE, timeout=seconds)


async def test_what_is_no_url_of_a_broker_is_refused() -> None:
    with pytest.raises(SettingError, match="amqp://"):
        async with open_client("http://localhost"):
            pass


async def test_a_call_that_may_take_ages_has_no_expiration_that_a_broker_would_refuse(
    autojump_clock: MockClock,
) -> None:
    broker = silent_broker()
    async with trio.open_nursery() as nursery, open_client(broker) as client:
        nursery.start_soon(partial(client.call, b"good", queue=QUEUE, timeout=1e12))
        assert (await next_request(broker)).deadline is None
        nursery.cancel_scope.cancel()


class RefusingAtFirst:
    """After the first connection, refuses so many attempts before it takes one again."""

    def __init__(self, broker: MemoryBroker, *, refusals: int) -> None:
        self._broker = broker
        self._left = refusals
        self._has_connected = False

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        await trio.lowlevel.checkpoint()
        if self._has_connected and self._left:
            self._left -= 1
            raise SessionLost("connection refused")
        self._has_connected = True
        async with self._broker.open_caller() as session:
            yield session

    def open_session(self, topology: Topology, *, prefetch: int) -> AbstractAsyncContextManager[Session]:
        return self._broker.open_session(topology, prefetch=prefetch)


async def test_a_call_made_while_the_broker_is_away_is_answered_once_it_is_back(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker), open_client(RefusingAtFirst(broker, refusals=4)) as client:
        broker.disconnect()
        await trio.sleep(0.001)
        assert (await client.call(b"good", queue=QUEUE, timeout=600)).body == b"ok:GOOD"


async def test_the_log_says_once_that_the_connection_is_lost_and_once_that_it_is_back(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rpcb_trio")
    broker = silent_broker()
    async with open_client(RefusingAtFirst(broker, refusals=20)) as client:
        broker.disconnect()
        await trio.sleep(3600)
        assert client.is_connected
    lost, back = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lost[0] == "WARNING"
    assert lost[1].startswith("client: the connection is lost (the embedded broker has disconnected)")
    assert back[0] == "INFO"
    assert back[1].startswith("client: connected again after ")


async def test_a_call_made_while_the_broker_is_away_ends_when_the_client_is_left(
    autojump_clock: MockClock,
) -> None:
    broker = silent_broker()
    endings: list[str] = []

    async def call(client: RpcClient) -> None:
        try:
            await client.call(b"good", queue=QUEUE, timeout=math.inf)
        except CallInterrupted as error:
            endings.append(str(error))

    async with trio.open_nursery() as nursery, open_client(RefusingAtFirst(broker, refusals=1000)) as client:
        broker.disconnect()
        await trio.sleep(0.001)
        nursery.start_soon(call, client)
        await trio.sleep(60)
    assert endings == ["the client is closed"]


async def test_what_a_call_waited_for_a_connection_is_no_longer_its_requests_to_live(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = silent_broker()
    async with open_client(broker) as client, trio.open_nursery() as nursery:
        with monkeypatch.context() as patch:
            patch.setattr(broker, "open_caller", Unreachable().open_caller)
            broker.disconnect()
            await trio.sleep(1)
            began = trio.current_time()
            nursery.start_soon(partial(client.call, b"x", queue=QUEUE, timeout=600))
            await trio.sleep(100)
        [message] = broker._router.queues[QUEUE]._messages
        assert message.expires == pytest.approx(began + 600)
        nursery.cancel_scope.cancel()


async def test_a_request_above_the_brokers_limit_is_refused_before_it_goes_out(
    autojump_clock: MockClock,
) -> None:
    broker = MemoryBroker(max_message_size=10)
    broker.declare(QUEUE)
    async with open_client(broker) as client:
        with pytest.raises(RequestTooBig, match="has 11 bytes, and the broker takes 10 at most"):
            await client.call(bytes(11), queue=QUEUE)
    assert broker.depth(QUEUE) == 0


class RefusingAndAnswering(MemoryBroker):
    """Its refusal and a reply come in the same moment, as in one read of a socket."""

    @asynccontextmanager
    async def open_caller(self) -> AsyncIterator[CallerSession]:
        async with super().open_caller() as session:

            async def refuse_and_answer(
                request: Outgoing,
                failed: Callable[[RpcbError], None],
                confirmed: object = None,
            ) -> None:
                await trio.lowlevel.checkpoint()
                failed(PublishRefused("full"))
                address = session._address  # type: ignore[attr-defined] # of the memory transport
                self.publish(b"ok", routing_key=address, correlation_id=request.correlation_id)

            session.publish = refuse_and_answer  # type: ignore[method-assign] # to meddle with it
            yield session


async def test_a_reply_that_comes_with_a_refusal_is_the_end_of_the_call(autojump_clock: MockClock) -> None:
    async with open_client(RefusingAndAnswering()) as client:
        assert (await client.call(b"", queue=QUEUE)).body == b"ok"
    assert client.late_replies == 0
