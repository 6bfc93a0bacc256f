"""What crosses the wire is what pamqp, a codec of somebody else's, says it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody  # noqa: TID251 - the judge
from pamqp.commands import Basic  # noqa: TID251 - likewise
from pamqp.frame import unmarshal  # noqa: TID251 - likewise
from pamqp.header import ContentHeader  # noqa: TID251 - likewise

from rpcb_trio._transports._codec import _frame_writer as writer
from rpcb_trio._transports._codec._properties import Properties, read_properties, write_properties
from rpcb_trio._transports._codec._tables import Unsendable
from tests.amqp.contents import (
    FRAME_MAX,
    MOST,
    any_properties,
    as_pamqp,
    bodies,
    channels,
    facts,
    names,
    plain_fields,
    properties_of,
    tables,
    tags,
    texts,
)
from tests.scenarios import steady


def exactly(properties: Properties) -> Properties:
    written = write_properties(properties)
    return read_properties(b"before" + written + b"behind", 6, 6 + len(written))


floats_of_32_bits = st.floats(width=32, allow_nan=False)


@given(properties_of(tables(plain_fields | floats_of_32_bits), shortest=1))
@steady
def test_properties_that_pamqp_writes_are_read_as_they_are(properties: Properties) -> None:
    written = as_pamqp(properties).marshal()
    assert facts(read_properties(written, 0, len(written))) == facts(properties)


@given(properties_of(tables(plain_fields | st.floats())))
@steady
def test_properties_that_we_write_are_read_by_pamqp_as_they_are(properties: Properties) -> None:
    written = write_properties(properties)
    theirs = Basic.Properties()
    theirs.unmarshal(int.from_bytes(written[:2]), written[2:])
    assert facts(theirs) == facts(properties)


@given(
    properties_of(tables(plain_fields | st.floats() | st.binary(max_size=9).map(lambda end: b"\xff" + end)))
)
@steady
def test_properties_are_given_back_exactly_bytes_texts_and_empty_ones_too(properties: Properties) -> None:
    assert facts(exactly(properties)) == facts(properties)
    for name in Properties.__struct_fields__:
        if name != "headers":
            assert getattr(exactly(properties), name) == getattr(properties, name)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"t\x01", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xff", -1),
        (b"u\xff\xff", 65535),
        (b"I\xff\xff\xff\xff", -1),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f" + struct.pack(">f", 0.5), 0.5),
        (b"d" + struct.pack(">d", 1.7e9 + 0.1), 1.7e9 + 0.1),
        (b"D\x02" + struct.pack(">i", -1234), Decimal("-12.34")),
        (b"S\x00\x00\x00\x02\xc3\xa9", "é"),
        (b"S\x00\x00\x00\x02\xff\xfe", b"\xff\xfe"),
        (b"x\x00\x00\x00\x02\xff\xfe", bytearray(b"\xff\xfe")),
        (b"A\x00\x00\x00\x03Vt\x00", [None, False]),
        (b"F\x00\x00\x00\x03\x01nV", {"n": None}),
        (b"T" + (1_700_000_000).to_bytes(8), datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (b"T" + (1_700_000_000_000).to_bytes(8), 1_700_000_000_000),
        (b"V", None),
        (b"\x00", None),
    ],
    ids=lambda value: value[:1].decode() if isinstance(value, bytes) and len(value) > 2 else repr(value),
)
def test_every_type_of_field_is_read_and_given_back_as_the_value_it_is(written: bytes, value: object) -> None:
    table = b"\x01k" + written
    header = b"\x20\x00" + len(table).to_bytes(4) + table
    came = read_properties(header, 0, len(header))
    assert typed_headers(came) == typed_headers(Properties(headers={"k": value}))
    assert typed_headers(exactly(came)) == typed_headers(came)


def typed_headers(properties: Properties) -> object:
    return facts(properties)["headers"]


@pytest.mark.parametrize(
    "properties",
    [
        {"correlation_id": "x" * 256},
        {"correlation_id": "\ud800"},
        {"correlation_id": 7},
        {"priority": 256},
        {"delivery_mode": "2"},
        {"timestamp": -1},
        {"timestamp": 1.5},
        {"headers": {"k": object}},
        {"headers": {"k": 2**63}},
        {"headers": {"k": Decimal("NaN")}},
        {"headers": {"k": "\ud800"}},
        {"headers": {"x" * 256: 1}},
        {"headers": {7: 1}},
    ],
    ids=repr,
)
def test_what_amqp_can_not_carry_is_refused_by_one_error(properties: dict[str, Any]) -> None:
    with pytest.raises(Unsendable):
        write_properties(Properties(**properties))


def test_tables_that_hold_themselves_are_refused_by_the_same_error() -> None:
    headers: dict[str, object] = {}
    headers["k"] = headers
    with pytest.raises(Unsendable):
        write_properties(Properties(headers=headers))


addresses = st.tuples(channels, names, texts, st.booleans())


@given(addresses, any_properties, bodies)
@steady
def test_a_message_that_we_publish_is_read_by_pamqp_as_it_was_meant(
    address: tuple[int, str, str, bool], properties: Properties, body: bytes
) -> None:
    channel, exchange, key, mandatory = address
    pieces = writer.publish(
        channel, exchange, key, properties, body, mandatory=mandatory, frame_max=FRAME_MAX
    )
    (method, header, *parts) = (what for number, what in unmarshalled(b"".join(pieces)) if number == channel)
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == (exchange, key, mandatory)
    assert isinstance(header, ContentHeader)
    assert (header.body_size, facts(header.properties)) == (len(body), facts(properties))
    values = [part.value for part in parts if isinstance(part, ContentBody)]
    assert len(values) == len(parts) == -(-len(body) // MOST)
    assert b"".join(values) == body


def unmarshalled(stream: bytes) -> Iterator[tuple[int, object]]:
    while stream:
        size, channel, what = unmarshal(stream)
        assert size <= FRAME_MAX
        yield channel, what
        stream = stream[size:]


def test_properties_that_fill_a_frame_are_sent_and_one_byte_more_is_refused() -> None:
    def publish(size: int) -> list[bytes | memoryview]:
        properties = Properties(headers={"k": b"x" * size})
        return writer.publish(1, "", "q", properties, b"", mandatory=False, frame_max=FRAME_MAX)

    written = writer.publish(1, "", "q", Properties(), b"", mandatory=False, frame_max=FRAME_MAX)
    around = len(b"".join(publish(0))) - len(b"".join(written))
    fits = MOST - 14 - around
    sent = [what for _, what in unmarshalled(b"".join(publish(fits)))]
    assert len(sent) == 2
    with pytest.raises(Unsendable, match="than a frame of 4096 holds"):
        publish(fits + 1)


@given(channels, tags, st.booleans())
@steady
def test_acks_rejects_and_nacks_that_we_write_are_read_by_pamqp_as_they_were_meant(
    channel: int,
    tag: int,
    bit: bool,  # noqa: FBT001 - of the parameters
) -> None:
    [(number, ack)] = unmarshalled(writer.ack(channel, tag, multiple=bit))
    assert isinstance(ack, Basic.Ack)
    assert (number, ack.delivery_tag, ack.multiple) == (channel, tag, bit)
    [(number, reject)] = unmarshalled(writer.reject(channel, tag))
    assert isinstance(reject, Basic.Reject)
    assert (number, reject.delivery_tag, reject.requeue) == (channel, tag, False)
    [(number, nack)] = unmarshalled(writer.requeue(channel, tag))
    assert isinstance(nack, Basic.Nack)
    assert (number, nack.delivery_tag, nack.requeue, nack.multiple) == (channel, tag, True, False)


@given(channels, names)
@steady
def test_the_end_of_a_consumer_that_we_write_is_read_by_pamqp_as_it_was_meant(
    channel: int, consumer: str
) -> None:
    [(number, cancel)] = unmarshalled(writer.cancel(channel, consumer))
    assert isinstance(cancel, Basic.Cancel)
    assert (number, cancel.consumer_tag, cancel.nowait) == (channel, consumer, True)
