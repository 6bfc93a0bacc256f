"""Whatever bytes a producer has the broker pass on, they cost one request at most, never the connection."""

from __future__ import annotations

import struct
from contextvars import Context, copy_context
from functools import cache
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import frame  # noqa: TID251 - under test
from pamqp.commands import Basic  # noqa: TID251 - likewise
from pamqp.header import ContentHeader  # noqa: TID251 - likewise

from rpcb_trio._transports._amqp._faithful import FaithfulProperties
from rpcb_trio._transports._amqp._unreadable import Unreadable, bear_unreadable
from tests.scenarios import steady

BASIC = 60
BODY_SIZE = 1234


@cache
def on_a_connection_of_ours() -> Context:
    context = copy_context()
    context.run(bear_unreadable)
    return context


def read(kind: int, payload: bytes) -> Any:
    raw = struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"
    size, channel, what = on_a_connection_of_ours().run(frame.unmarshal, raw)
    assert (size, channel) == (len(raw), 1)
    return what


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
HEADERS_ONLY = 1 << 13
NESTED = table(b"")
for _ in range(2000):
    NESTED = table(field(b"F", NESTED))


def header(flags: int, properties: bytes) -> bytes:
    return struct.pack(">HHQH", BASIC, 0, BODY_SIZE, flags) + properties


@given(flags=st.integers(0, 0xFFFF), properties=st.binary(max_size=60))
@example(flags=HEADERS_ONLY, properties=NESTED)
@example(flags=HEADERS_ONLY, properties=struct.pack(">I", 0xFFFF_FFFF))
@example(flags=0xFFFF, properties=b"")
@steady
def test_any_properties_are_read_or_marked_as_unreadable(flags: int, properties: bytes) -> None:
    read_or_marked(read(2, header(flags, properties)))


@given(headers=tables)
@steady
def test_any_table_of_headers_is_read_or_marked_as_unreadable(headers: bytes) -> None:
    read_or_marked(read(2, header(HEADERS_ONLY, headers)))


@given(headers=tables)
@example(headers=table(field(b"S", table(b"\xff\xfe"))))
@example(headers=table(field(b"d", struct.pack(">d", 1.7e9 + 0.1))))
@steady
def test_any_headers_that_can_be_read_can_be_sent_on_as_they_were(headers: bytes) -> None:
    came = read(2, header(HEADERS_ONLY, headers)).properties
    if not isinstance(came, Unreadable):
        went = FaithfulProperties(headers=came.headers).marshal() if came.headers else headers
        assert repr(read(2, struct.pack(">HHQ", BASIC, 0, BODY_SIZE) + went).properties.headers) == repr(
            came.headers
        )


def read_or_marked(what: object) -> None:
    assert isinstance(what, ContentHeader)
    assert what.body_size == BODY_SIZE, "else the next frame would not be where it is looked for"
    assert isinstance(what.properties, Basic.Properties | Unreadable)


def shortstr(text: bytes) -> bytes:
    return bytes([len(text)]) + text


@given(exchange=st.binary(max_size=255), key=st.binary(max_size=255))
@steady
def test_any_exchange_and_routing_key_of_a_delivery_are_read(exchange: bytes, key: bytes) -> None:
    tagged = shortstr(b"consumer") + struct.pack(">QB", 7, 0) + shortstr(exchange) + shortstr(key)
    delivery = read(1, struct.pack(">HH", BASIC, Basic.Deliver.index & 0xFFFF) + tagged)
    assert isinstance(delivery, Basic.Deliver)
    assert delivery.delivery_tag == 7


@given(key=st.binary(max_size=255))
@steady
def test_any_routing_key_of_a_returned_reply_is_read(key: bytes) -> None:
    told = struct.pack(">H", 312) + shortstr(b"NO_ROUTE") + shortstr(b"") + shortstr(key)
    returned = read(1, struct.pack(">HH", BASIC, Basic.Return.index & 0xFFFF) + told)
    assert isinstance(returned, Basic.Return)
    assert returned.reply_code == 312
