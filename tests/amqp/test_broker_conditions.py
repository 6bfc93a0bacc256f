"""In virtual time, against a broker that says what it is told to: innocents pay for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import Reply, Topology
from rpcb_trio._transports._amqp._data._closing import ChannelRefused, Closing, closing_of
from rpcb_trio._transports._amqp._data._connection import Connection
from rpcb_trio._transports._amqp._data._consumption import Consumption, Reading
from rpcb_trio._transports._amqp._data._publications import PublishChannel
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._direct_callers import DirectCallers
from rpcb_trio._transports._amqp._session._outbox import Outbox
from rpcb_trio._transports._amqp._session._rights import Rights
from rpcb_trio._transports._amqp._session._session import AmqpSession
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio._transports._codec._frames import Confirm, Control, Delivery
from rpcb_trio._transports._codec._properties import Properties
from rpcb_trio._transports._deadline import Deadlines
from rpcb_trio.errors import SessionLost
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.counting import CountingBroker
from tests.scenarios import steady

TOPOLOGY = Topology(queue="work", dead_letter_exchange="", dead_letter_routing_key="dead")


class Said(NamedTuple):
    """How the broker ends a channel or a connection."""

    code: int
    text: str
    is_of_connection: bool

    def closing(self) -> Closing:
        if self.code == 0:
            return Closing(self.text)
        text = self.text.encode()
        frame = bytes(11) + self.code.to_bytes(2) + bytes([len(text)]) + text + b"\xce"
        return closing_of(Control(1, 0, frame), is_of_connection=self.is_of_connection)


NO_WRITE = Said(
    403,
    "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'w'",
    is_of_connection=False,
)
BREAKS_DOWN = Said(541, "INTERNAL_ERROR", is_of_connection=True)
CONDITIONS = [
    NO_WRITE,
    Said(506, "RESOURCE_ERROR - no room on the disk", is_of_connection=True),
    Said(530, "NOT_ALLOWED - vhost '/' is down", is_of_connection=True),
    Said(
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
        is_of_connection=True,
    ),
    Said(506, "RESOURCE_ERROR - too many", is_of_connection=False),
    Said(999, "SOMETHING_NEW", is_of_connection=False),
    Said(0, "the broker hung up", is_of_connection=True),
]


class Scripted:
    """A broker that answers each publish as its condition is; None is for all well."""

    def __init__(self, conditions: Iterable[Said | None]) -> None:
        self._conditions = iter(conditions)
        self.condition: Said | None = None
        self.guilty: bytes | None = None
        """The address over which it breaks down whenever something is sent there."""

    def turn(self) -> None:
        self.condition = next(self._conditions, None)

    async def dial(self) -> Connection:
        await trio.lowlevel.checkpoint()
        return cast(Connection, ScriptedConnection(self))


class ScriptedConnection(CountingBroker):
    """Stands in for a connection to it."""

    largest_message = None

    def __init__(self, broker: Scripted) -> None:
        super().__init__()
        self._broker = broker
        self._confirmed = self._offset = 0
        self._addresses = list[bytes]()
        self._channel: PublishChannel | None = None
        self.closing: Closing | None = None

    @property
    def is_open(self) -> bool:
        return self.closing is None

    async def data_channel(self, make: Any, **_: bool) -> Any:
        await trio.lowlevel.checkpoint()
        if self.closing is not None:
            raise SessionLost(self.closing.why)
        self._channel = make(self, SimpleNamespace(number=1))
        self._confirmed = self.newest
        self._offset = self.newest
        return self._channel

    @asynccontextmanager
    async def throwaway_channel(self, _seconds: float = 0) -> AsyncIterator[Any]:
        await trio.lowlevel.checkpoint()
        yield SimpleNamespace(number=2, select_transactions=self._ask, roll_back=self._ask)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closing = self.closing or Closing("closed")

    def on_close(self, _: object) -> None:
        """Nobody else has to know."""

    on_blocked = on_close

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        copied = [bytes(piece) for piece in pieces]
        if copied[0][1:3] == b"\0\2":  # it is a probe's, and is taken back
            return
        self._addresses.append(copied[0])
        super().write(copied)

    def flush(self) -> None:
        channel = self._channel
        while channel is not None and channel.is_open and self._confirmed < self.newest:
            said = self._broker.condition
            if said is None and (self._broker.guilty or b"?") in self._addresses[self._confirmed]:
                said = BREAKS_DOWN
            if said is not None:
                channel.close(said.closing())
                if said.is_of_connection:
                    self.closing = said.closing()
                return
            self._confirmed += 1
            channel.confirm(Confirm(1, self._confirmed - self._offset, multiple=False, is_taken=True))

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._broker.condition is not None:
            said = self._broker.condition
            if said.is_of_connection:
                raise SessionLost(said.text)
            raise ChannelRefused(said.closing())


class Sink:
    """Stands in for the connection that is consumed on."""

    def write(self, _: object) -> None:
        """It leads nowhere."""

    def flush(self) -> None:
        """Likewise."""


def open_session(broker: Scripted, rights: Rights) -> AmqpSession:
    end = SessionEnd()
    outbox = Outbox(end, broker.dial, Blockage(), rights)
    session = AmqpSession(end, outbox, Blockage(), cast(DirectCallers, None), topology=TOPOLOGY, prefetch=8)
    session._consumption = Consumption(
        cast(Connection, SimpleNamespace(wire=Sink())), cast(Any, SimpleNamespace(number=1))
    )
    return session


def deliver(session: AmqpSession, bodies: Iterable[bytes]) -> list[Answer]:
    answers = []
    for tag, body in enumerate(bodies, 1):
        properties = Properties(reply_to=f"inbox-{body.decode()}")
        delivery = Delivery(1, tag, False, b"", properties, body)  # noqa: FBT003 - as frames make it
        request = Reading(Deadlines("work")).request(delivery, properties, trio.current_time(), 0.0)
        session._consumption.deliveries.enter(request)
        answers.append(Answer(request, Reply(body=body.upper())))
    return answers


async def settle_all(broker: Scripted, count: int) -> None:
    left, rights = [b"%d" % n for n in range(count)], Rights()
    for _ in range(100):
        session = open_session(broker, rights)
        answers = deliver(session, left)
        try:
            settled = await session.settle(answers)
        except SessionLost:
            open_still = session._consumption.deliveries
            left = [each.request.body for each in answers if open_still.holds(each.request)]
        else:
            assert settled == [Settled.REPLIED] * len(left), "given up"
            return
        broker.turn()
    raise AssertionError("it never ends")


@given(st.lists(st.sampled_from([None, *CONDITIONS]), min_size=1, max_size=6), st.integers(1, 6))
@steady
def test_while_the_broker_or_the_worker_is_in_no_condition_no_request_is_given_up_whatever_is_said(
    conditions: list[Said | None], count: int
) -> None:
    async def main() -> None:
        broker = Scripted(conditions)
        broker.turn()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn_by_and_by, broker)
            await settle_all(broker, count)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def turn_by_and_by(broker: Scripted) -> None:
    """Conditions pass by themselves, too, in the midst of attempts."""
    while True:
        await trio.sleep(0.3)
        broker.turn()


async def test_a_broker_that_breaks_down_over_every_message_convicts_none(autojump_clock: MockClock) -> None:
    broker = Scripted([])
    broker.condition = BREAKS_DOWN
    for _ in range(10):
        session = open_session(broker, Rights())
        answers = deliver(session, [b"1", b"2", b"3"])
        with pytest.raises(SessionLost, match="INTERNAL_ERROR"):
            await session.settle(answers)
        assert all(session._consumption.deliveries.holds(each.request) for each in answers)
    broker.condition = None
    await settle_all(broker, 3)


@pytest.mark.parametrize("guilty", range(3))
async def test_one_over_which_the_broker_breaks_down_while_it_takes_others_is_given_up_alone(
    autojump_clock: MockClock, guilty: int
) -> None:
    broker = Scripted([])
    broker.guilty = b"inbox-%d" % guilty
    session = open_session(broker, Rights())
    settled = await session.settle(deliver(session, [b"0", b"1", b"2"]))
    assert settled == [Settled.REJECTED if n == guilty else Settled.REPLIED for n in range(3)]
