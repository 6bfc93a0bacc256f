"""What we write into headers is of types that every client library reads; what we pass on keeps its own."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

import rpcb_trio._batching._batcher as batching
from rpcb_trio import MemoryBroker, Topology
from rpcb_trio._pipeline._batch_headers import numbers_of
from rpcb_trio._transports._codec._properties import Properties, read_properties, write_properties
from rpcb_trio._transports._codec._tables import Table, read_table
from rpcb_trio.amqp import AmqpTransport
from rpcb_trio.instruments import Answer, Settled
from tests.amqp.producer import Producer
from tests.amqp.serving import serving
from tests.rabbitmq import Broker
from tests.raw_frames import short
from tests.raw_wire import publish_raw, take_raw
from tests.scenarios import Shouting, ask, steady, taken, working

EVERY_TYPE = b"".join(
    short(name) + field
    for name, field in {
        b"int32": b"I" + struct.pack(">i", 40000),
        b"int64": b"l" + struct.pack(">q", 5),
        b"int8": b"b\xff",
        b"uint8": b"B\x07",
        b"int16": b"s\xff\xff",
        b"uint16": b"u\x80\x00",
        b"uint32": b"i\xff\xff\xff\xff",
        b"bool": b"t\x01",
        b"float": b"f" + struct.pack(">f", 0.1),
        b"double": b"d" + struct.pack(">d", 0.1),
        b"decimal": b"D\x02" + struct.pack(">i", 1200),
        b"text": b"S\x00\x00\x00\x02\xc3\xa9",
        b"no text": b"S\x00\x00\x00\x02\xff\xfe",
        b"bytes": b"x\x00\x00\x00\x02\xff\xfe",
        b"list": b"A\x00\x00\x00\x08u\x80\x00I\x00\x00\x00\x01",
        b"table": b"F\x00\x00\x00\x07\x01kB\x07\x01vV",
        b"time": b"T" + struct.pack(">q", 1_700_000_000_000),
        b"void": b"V",
        b"": b"t\x00",
    }.items()
)
"""A table's fields, of all the types that RabbitMQ reads."""


def types_of(table: Table) -> dict[str, bytes]:
    """Of each field, the letter that tells its type."""
    return {name: field[1 + field[0] :][:1] for name, field in table.fields()}


def written(headers: dict[str, object]) -> Table:
    sent = write_properties(Properties(headers=headers))
    found = read_properties(sent, 0, len(sent)).headers
    assert isinstance(found, Table)
    return found


@given(value=st.integers(-(2**63), 2**63 - 1))
@example(value=32767)
@example(value=32768)
@example(value=65536)
@example(value=2**31 - 1)
@example(value=2**31)
@example(value=-1)
@example(value=-(2**31))
@example(value=0)
@steady
def test_a_number_that_we_write_is_an_int32_and_where_it_is_larger_an_int64(value: int) -> None:
    inner = {"n": value, "list": [value, {"n": value}]}
    found = written({"n": value, "inner": inner})
    assert found == {"n": value, "inner": inner}
    wanted = b"I" if -(2**31) <= value < 2**31 else b"l"
    assert types_of(found)["n"] == wanted
    letters = found.written.replace(struct.pack(">i" if wanted == b"I" else ">q", value), b"")
    assert letters.count(wanted) >= 4
    assert not any(b"\x01n" + narrow in letters for narrow in (b"b", b"B", b"s", b"u", b"i", b"L"))


@given(batch=st.integers(0, 2**70), size=st.integers(1, 65535), wait=st.floats(0, 1e300))
@example(batch=32767, size=1, wait=40.0)
@example(batch=32768, size=32768, wait=2.0**31)
@example(batch=2**31 - 1, size=65535, wait=0.0)
@example(batch=2**31, size=1, wait=0.0)
@steady
def test_what_a_reply_says_of_its_batch_fits_into_int32_for_a_workers_whole_life(
    batch: int, size: int, wait: float
) -> None:
    headers = numbers_of(batch, size, wait)
    found = written(headers)
    assert set(types_of(found).values()) == {b"I"}
    assert found["rpcb-batch"] == batch % 2**31
    assert found["rpcb-batch-size"] == size


@pytest.mark.parametrize("first", [1, 32767, 65535, 2**31 - 1])
async def test_replies_bear_ids_of_batches_that_begin_again_after_the_largest(
    first: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_batch_ids", itertools.count(first))
    broker = MemoryBroker()
    async with working(Shouting(), broker, batch_headers=True) as running:
        for n in range(3):
            ask(broker, b"good %d" % n)
            await running.until_settled(n + 1)
    ids = [reply.headers["rpcb-batch"] for reply in taken(broker)]
    assert ids == [n % 2**31 for n in range(first, first + 3)]


@given(
    fields=st.lists(
        st.sampled_from(
            [EVERY_TYPE, short(b"n") + b"B\x01", short(b"n") + b"u\xff\xff", short(b"CC") + b"V"]
        ),
        max_size=4,
    ).map(b"".join)
)
@example(fields=EVERY_TYPE)
@example(fields=b"\x03nand\x7f\xf8\x00\x00\x00\x00\x00\x01")
@steady
def test_a_table_that_was_read_is_given_on_byte_for_byte_but_for_what_is_ours(fields: bytes) -> None:
    table = read_table(fields, 0, len(fields))
    sent = write_properties(Properties(headers=table))
    assert sent[6:] == fields
    amended = table.amended({"n": 1, "reason": "why"}, lambda name, _: name != "CC")
    kept = [field for name, field in table.fields() if name not in {"n", "CC"}]
    went = write_properties(Properties(headers=amended))[6:]
    assert went == b"".join(kept) + b"\x01nI\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x03why"
    again = read_table(went, 0, len(went))
    assert sorted(map(repr, amended.items())) == sorted(map(repr, again.items()))


PROPERTIES = b"".join(
    [
        b"\xff\xe8",
        short(b"audio/wav"),
        short(b"gzip"),
        struct.pack(">I", len(EVERY_TYPE)) + EVERY_TYPE,
        b"\x01",
        b"\x03",
        short(b""),
        short(b"somewhere"),
        short(b"60000"),
        short(b""),
        struct.pack(">Q", 1_700_000_000_000_000),
        short(b"kind"),
        short(b"app"),
    ]
)
"""A content header's: all but `user_id` and `cluster_id`."""


async def test_a_dead_letter_bears_the_properties_and_headers_byte_for_byte_as_they_came(
    broker: Broker, transport: AmqpTransport, queue: str, dead: str
) -> None:
    topology = Topology(queue=queue, dead_letter_exchange="", dead_letter_routing_key=dead)
    async with transport.open_session(topology, prefetch=10) as session:
        await publish_raw(broker, queue, b"body", PROPERTIES)
        request = await session.requests.receive()
        assert await session.settle([Answer(request, None, dead_letter="why")]) == [Settled.REJECTED]
    found, body = await take_raw(broker, dead)
    assert body == b"body"
    came = read_properties(PROPERTIES, 0, len(PROPERTIES))
    went = read_properties(found, 0, len(found))
    assert isinstance(came.headers, Table)
    assert isinstance(went.headers, Table)
    for name in Properties.__struct_fields__:
        if name not in {"headers", "expiration"}:
            assert getattr(went, name) == getattr(came, name), name
    assert went.expiration is None
    own = {name: field for name, field in went.headers.fields() if name.startswith("rpcb-")}
    kept = {name: field for name, field in went.headers.fields() if name not in own}
    assert kept == dict(came.headers.fields())  # RabbitMQ 4 sorts them
    assert len(own) == 3
    assert {types_of(went.headers)[name] for name in own} == {b"S"}


async def test_all_that_a_worker_puts_into_the_headers_of_a_reply_is_an_int32_or_a_text(
    broker: Broker, queue: str, inbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_batch_ids", itertools.count(32768))
    producer = Producer(broker, queue)
    found = dict[bytes, Table]()
    async with serving(Shouting(), broker, Topology(queue=queue), batch_headers=True) as running:
        for n, body in enumerate((b"good", b"sick", b"\xff", b"mute")):
            await producer.send(body, reply_to=inbox)
            await running.until_settled(n + 1)
    for _ in range(4):
        properties, body = await take_raw(broker, inbox)
        headers = read_properties(properties, 0, len(properties)).headers
        assert isinstance(headers, Table)
        found[body] = headers
    assert {kind for headers in found.values() for kind in types_of(headers).values()} == {b"I", b"S"}
    assert found[b"ok:GOOD"]["rpcb-batch"] == 32768
    assert found[b"failed:infer"]["rpcb-error"] == "infer"
