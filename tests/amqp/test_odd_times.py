"""Whatever a producer writes for a time, no request is refused for it, and its dead letter keeps it."""

from __future__ import annotations

import struct
import time

import pytest

from rpcb_trio import Topology
from rpcb_trio._transports._codec._properties import read_properties
from rpcb_trio._transports._codec._tables import Table
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.raw_frames import short
from tests.raw_wire import publish_raw, take_raw
from tests.scenarios import Shouting

HEADERS, REPLY_TO, EXPIRATION, TIMESTAMP = 0x2000, 0x0200, 0x0100, 0x0040

NOW = int(time.time())
TIMES = {
    "seconds": NOW,
    "milliseconds": NOW * 1000,
    "microseconds": NOW * 10**6,
    "nanoseconds": NOW * 10**9,
    "ticks of .NET": 638_000_000_000_000_000,
    "the year 9999": 253402300799,
    "one second more": 253402300800,
    "the largest": 2**63 - 1,
    "minus one": 2**64 - 1,
    "nought": 0,
    "one": 1,
}


def asked(inbox: str, moment: int) -> bytes:
    """The properties of a request that bears a time wherever it can."""
    stamp = struct.pack(">Q", moment)
    table = (
        b"\x04sentT" + stamp + b"\x0ftimestamp_in_msl" + stamp + b"\x05otherF\x00\x00\x00\x0b\x01tT" + stamp
    )
    flags = struct.pack(">H", HEADERS | REPLY_TO | EXPIRATION | TIMESTAMP)
    return flags + struct.pack(">I", len(table)) + table + short(inbox.encode()) + short(b"86400000") + stamp


@pytest.mark.parametrize("moment", TIMES)
async def test_a_request_is_answered_whatever_its_time_stamps_are(
    broker: Broker, queue: str, inbox: str, limit: None, moment: str
) -> None:
    async with serving(Shouting(), broker, Topology(queue=queue)) as running:
        await publish_raw(broker, queue, b"good", asked(inbox, TIMES[moment]))
        await running.until_settled(1)
    [(_, _, body)] = await Producer(broker, queue).read(inbox)
    assert body == b"ok:GOOD"


@pytest.mark.parametrize("moment", TIMES)
async def test_a_dead_letter_keeps_its_time_stamps(  # noqa: PLR0917 - pytest gives them
    broker: Broker, transport: AmqpTransport, queue: str, dead: str, inbox: str, moment: str
) -> None:
    topology = Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    properties = asked(inbox, TIMES[moment])
    async with transport.open_session(topology, prefetch=1) as session:
        await publish_raw(broker, queue, b"a", properties)
        await session.settle([Answer(await session.requests.receive(), None, dead_letter="why")])
    found, _ = await take_raw(broker, dead)
    came, went = (read_properties(each, 0, len(each)) for each in (properties, found))
    assert went.timestamp == came.timestamp
    assert isinstance(came.headers, Table)
    assert isinstance(went.headers, Table)
    assert dict(came.headers.fields()).items() <= dict(went.headers.fields()).items()
