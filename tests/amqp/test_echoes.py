"""What a reply bears of its request, in the very spelling and type that the producer wrote."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio import MemoryBroker, Reply, Request, Topology
from rpcb_trio._transports._amqp._session._addressing import address
from rpcb_trio._transports._codec._properties import Properties, read_properties, write_properties
from rpcb_trio._transports._codec._tables import Table, read_table
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer
from tests.amqp.contents import plain_fields, tables
from tests.amqp.producer import answer
from tests.rabbitmq import Broker
from tests.raw_frames import short
from tests.raw_wire import publish_raw, take_raw
from tests.scenarios import Shouting, ask, steady, taken, working

HEADERS, CORRELATION, REPLY_TO = 0x2000, 0x0400, 0x0200
TYPES = {
    "text": b"S\x00\x00\x00\x02\xc3\xa9",
    "bytes": b"x\x00\x00\x00\x01\xff",
    "int64": b"l" + struct.pack(">q", 5),
    "uint8": b"B\x05",
    "void": b"V",
    "table": b"F\x00\x00\x00\x04\x01kB\x07",
}


def asked(headers: bytes, inbox: str, correlation_id: bytes | None) -> bytes:
    """A request's properties."""
    flags = HEADERS | REPLY_TO | (0 if correlation_id is None else CORRELATION)
    table = struct.pack(">I", len(headers)) + headers
    own = b"" if correlation_id is None else short(correlation_id)
    return struct.pack(">H", flags) + table + own + short(inbox.encode())


async def reply_to(
    broker: Broker, transport: AmqpTransport, topology: Topology, inbox: str, properties: bytes
) -> Properties:
    """The properties of the reply to a request with such properties."""
    async with transport.open_session(topology, prefetch=1) as session:
        await publish_raw(broker, topology.queue, b"a", properties)
        await answer(session, 1)
    found, _ = await take_raw(broker, inbox)
    return read_properties(found, 0, len(found))


@pytest.mark.parametrize("correlation_id", [b"", b" ", b"42", None], ids=repr)
async def test_a_correlation_id_comes_back_as_it_was_an_empty_one_too(
    broker: Broker, transport: AmqpTransport, topology: Topology, inbox: str, correlation_id: bytes | None
) -> None:
    properties = asked(b"", inbox, correlation_id)
    found = await reply_to(broker, transport, topology, inbox, properties)
    assert found.correlation_id == (None if correlation_id is None else correlation_id.decode())


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["X-Request-ID", "x-request-id", "X-Request-Id"])
async def test_x_request_id_comes_back_as_it_was_spelt_and_in_its_type(  # noqa: PLR0917 - pytest gives them
    broker: Broker, transport: AmqpTransport, topology: Topology, inbox: str, name: str, kind: str
) -> None:
    field = short(name.encode()) + TYPES[kind]
    properties = asked(b"\x05otherB\x01" + field + b"\x03endV", inbox, b"1")
    headers = (await reply_to(broker, transport, topology, inbox, properties)).headers
    assert isinstance(headers, Table)
    assert headers.written == field


LONG = b"\x0cx-request-idS" + struct.pack(">I", 5000) + b"x" * 5000


@given(
    asked_with=tables(plain_fields),
    spellings=st.lists(st.sampled_from(["X-Request-ID", "x-request-id", "x-REQUEST-id"]), unique=True),
    own=st.dictionaries(st.sampled_from(["rpcb-error", "rpcb-batch"]), st.integers(0, 9)),
)
@steady
def test_a_reply_bears_its_own_headers_and_the_requests_ids_and_nothing_else_of_it(
    asked_with: dict[str, object], spellings: list[str], own: dict[str, object]
) -> None:
    ids = {name: f"id of {name}" for name in spellings}
    sent = write_properties(Properties(headers={**asked_with, **ids}))
    for headers in (read_properties(sent, 0, len(sent)).headers, {**asked_with, **ids}):
        assert headers is not None
        request = Request(body=b"", arrived=0.0, reply_to="q", headers=headers)
        message = address(Answer(request, Reply(body=b"", headers=own)))
        assert message is not None
        assert (message.properties.headers or {}) == {**own, **ids}
        again = write_properties(message.properties)
        assert (read_properties(again, 0, len(again)).headers or {}) == {**own, **ids}


def test_an_x_request_id_that_is_longer_than_any_sensible_one_is_left_out() -> None:
    request = Request(body=b"", arrived=0.0, reply_to="q", headers=read_table(LONG, 0, len(LONG)))
    message = address(Answer(request, Reply(body=b"")))
    assert message is not None
    assert message.properties.headers is None


async def test_the_embedded_broker_brings_an_x_request_id_and_an_empty_correlation_id_back_likewise(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    async with working(Shouting(), broker) as running:
        ask(broker, b"good 1", headers={"X-Request-ID": 7, "other": 1})
        broker.publish(b"good", routing_key="work", reply_to="answers", correlation_id="")
        await running.until_settled(2)
    found = {reply.body: reply for reply in taken(broker)}
    assert found[b"ok:GOOD 1"].headers == {"X-Request-ID": 7}
    assert found[b"ok:GOOD"].correlation_id == ""


@pytest.mark.parametrize(
    ("reply_to", "otherwise"),
    [
        ("exchange/key", ("exchange", "key")),
        ("amq.topic/a/b", ("amq.topic", "a/b")),
        ("/queue", ("", "queue")),
        ("queue", None),
        ("amq.direct.reply-to.ab/cd", None),
        ("amq.gen-ab/cd", ("amq.gen-ab", "cd")),
    ],
)
def test_an_address_that_a_broker_made_is_never_taken_apart(
    reply_to: str, otherwise: tuple[str, str] | None
) -> None:
    message = address(Answer(Request(body=b"", arrived=0.0, reply_to=reply_to), Reply(body=b"")))
    assert message is not None
    assert (message.exchange, message.routing_key, message.otherwise) == ("", reply_to, otherwise)
