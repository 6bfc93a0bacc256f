"""Whatever bytes come: a message is read, or marked as one that can't be, and no other suffers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio._transports._codec._frames import (
    Delivery,
    FrameReader,
    Returned,
)
from rpcb_trio._transports._codec._properties import Properties, read_properties, write_properties
from tests.raw_frames import BODY, DELIVER, TAG, header, method, short
from tests.scenarios import steady

ANOTHER = DELIVER + header(0, b"\x00\x00")


def delivered(properties: bytes) -> Delivery:
    """Read a message with such properties, and the next one behind it."""
    found, following = FrameReader().feed(DELIVER + header(4, properties) + BODY + ANOTHER)
    assert isinstance(found, Delivery)
    assert (found.tag, found.body) == (TAG, b"body")
    assert isinstance(following, Delivery)
    assert following.properties == Properties(), "the next one is where it is looked for"
    return found


def field(kind: bytes, content: bytes) -> bytes:
    return b"\x01k" + kind + content


def table(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


kinds = st.sampled_from([bytes([kind]) for kind in b"tbBsuIilLfdDSATFVx\x00Z"])
tables: st.SearchStrategy[bytes] = st.recursive(
    st.builds(field, kinds, st.binary(max_size=12)),
    lambda inner: st.lists(inner, max_size=3).map(lambda found: field(b"F", table(b"".join(found)))),
    max_leaves=8,
).map(table)
HEADERS_ONLY = b"\x20\x00"
NESTED = table(b"")
for _ in range(2000):
    NESTED = table(field(b"F", NESTED))


@given(properties=st.binary(min_size=2, max_size=60))
@example(properties=HEADERS_ONLY + NESTED)
@example(properties=HEADERS_ONLY + struct.pack(">I", 0xFFFF_FFFF))
@example(properties=b"\xff\xff")
@steady
def test_any_properties_are_read_or_marked_as_unreadable(properties: bytes) -> None:
    assert isinstance(delivered(properties).properties, Properties | None)


@given(headers=tables)
@steady
def test_any_table_of_headers_is_read_or_marked_as_unreadable(headers: bytes) -> None:
    assert isinstance(delivered(HEADERS_ONLY + headers).properties, Properties | None)


@pytest.mark.parametrize(
    "properties",
    [
        HEADERS_ONLY + NESTED,
        HEADERS_ONLY + struct.pack(">I", 5) + b"\x01kV",
        HEADERS_ONLY + table(b"\x01"),
        HEADERS_ONLY + table(field(b"S", b"\x00\x00\x00\x09too short")[:-1]),
        HEADERS_ONLY + table(field(b"A", b"\x00\x00\x00\x01l" + bytes(8))),
        HEADERS_ONLY + table(field(b"Z", bytes(4))),
        b"\x04\x00\x03x",
        b"\x04\x00\x01\xff",
        b"\x00\x40" + bytes(7),
        b"\x00\x01\x00\x00",
    ],
    ids=[
        "tables in tables, deeper than Python recurses",
        "a table beyond its frame",
        "a name beyond its table",
        "a text beyond its table",
        "a field beyond its list",
        "a type that nobody knows",
        "a text beyond its frame",
        "text that is not UTF-8",
        "a time stamp of seven bytes",
        "more flags than there are properties",
    ],
)
def test_properties_that_are_not_valid_amqp_mark_their_message_alone(properties: bytes) -> None:
    assert delivered(properties).properties is None


@given(headers=tables)
@example(headers=table(field(b"S", table(b"\xff\xfe"))))
@example(headers=table(field(b"d", struct.pack(">d", 1.7e9 + 0.1))))
@example(headers=table(field(b"T", b"\xff" * 8)))
@example(headers=table(field(b"D", b"\x02" + b"\xff" * 4)))
@steady
def test_any_headers_that_can_be_read_can_be_sent_on_as_they_were(headers: bytes) -> None:
    came = delivered(HEADERS_ONLY + headers).properties
    if came is not None:
        went = write_properties(came)
        assert repr(read_properties(went, 0, len(went))) == repr(came)


@given(exchange=st.binary(max_size=255), key=st.binary(max_size=255))
@steady
def test_any_exchange_and_routing_key_of_a_delivery_are_read(exchange: bytes, key: bytes) -> None:
    tagged = short(b"consumer") + struct.pack(">QB", TAG, 1) + short(exchange) + short(key)
    [delivery] = FrameReader().feed(method(frames.DELIVER, tagged) + header(0, b"\x00\x00"))
    assert isinstance(delivery, Delivery)
    assert (delivery.tag, delivery.redelivered) == (TAG, True)
    assert delivery.routing_key == key.decode(errors="replace")


@given(key=st.binary(max_size=255), properties=st.binary(min_size=2, max_size=20))
@steady
def test_any_routing_key_and_properties_of_a_returned_reply_are_read(key: bytes, properties: bytes) -> None:
    told = struct.pack(">H", 312) + short(b"NO_ROUTE") + short(b"") + short(key)
    [returned] = FrameReader().feed(method(frames.RETURN, told) + header(4, properties) + BODY)
    assert isinstance(returned, Returned)
    assert returned.code == 312
