"""Messages for the codec's tests, and how pamqp writes them down, as the judge of how we do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from pamqp.base import Frame  # noqa: TID251 - the judge
from pamqp.body import ContentBody  # noqa: TID251 - likewise
from pamqp.commands import Basic  # noqa: TID251 - likewise
from pamqp.frame import marshal  # noqa: TID251 - likewise
from pamqp.header import ContentHeader  # noqa: TID251 - likewise

from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio._transports._codec._properties import Properties

FRAME_MAX = 4096
"""Bytes that every peer must take in a frame (AMQP 0-9-1, section 4.2.3)."""
MOST = FRAME_MAX - frames.OVERHEAD
"""Bytes of a body in one frame."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME = 2**32 - 1
"""Above it pamqp takes UNIX seconds for milliseconds."""

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=40)
"""With at most 4 bytes a character, they fit into a short string, and all of a message's into a frame."""
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=127)
"""What an exchange may be called."""
channels = st.integers(1, 65535)
tags = st.integers(1, 2**63 - 1)
bodies = st.builds(
    lambda size, first: bytes([first]) * size,
    st.sampled_from([0, 1, MOST - 1, MOST, MOST + 1, 2 * MOST - 1, 2 * MOST, 2 * MOST + 1, 3 * MOST]),
    st.integers(0, 255),
)
times = st.integers(0, LAST_TIME).map(lambda seconds: EPOCH + timedelta(seconds=seconds))
decimals = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(0, 2**31 - 1), st.integers(0, 255)
)
plain_fields: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    decimals,
    texts,
    times,
    st.binary(max_size=20).map(bytearray),
)


def tables(fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Tables of such fields, and of tables and lists of them."""
    keys = st.text(characters, max_size=20)
    return st.dictionaries(
        keys,
        st.recursive(
            fields,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )


NUMBERS_AND_TABLES = {"headers", "delivery_mode", "priority", "timestamp"}


def properties_of(
    headers: st.SearchStrategy[dict[str, object]], *, shortest: int = 0
) -> st.SearchStrategy[Properties]:
    """Any properties with such headers."""
    text = st.none() | st.text(characters, min_size=shortest, max_size=40)
    return st.builds(
        Properties,
        headers=st.none() | headers,
        delivery_mode=st.none() | st.integers(0, 255),
        priority=st.none() | st.integers(0, 255),
        timestamp=st.none() | st.integers(0, LAST_TIME),
        **{name: text for name in Properties.__struct_fields__ if name not in NUMBERS_AND_TABLES},
    )


any_properties = properties_of(tables(plain_fields))


def typed(value: object) -> object:
    """A value with its type beside it, for True == 1 == 1.0 == Decimal(1)."""
    if isinstance(value, dict):
        return {name: typed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [typed(each) for each in value]
    return type(value), repr(value)


def facts(properties: Any) -> dict[str, object]:
    """The properties that are there, ours or pamqp's; to pamqp an empty text is none."""
    found = {name: getattr(properties, name) for name in Properties.__struct_fields__}
    if isinstance(found["timestamp"], datetime):
        found["timestamp"] = int(found["timestamp"].timestamp())
    return {name: typed(value) for name, value in found.items() if value is not None and value != ""}


def as_pamqp(properties: Properties) -> Basic.Properties:
    """The same properties."""
    made = Basic.Properties()
    for name in Properties.__struct_fields__:
        value = getattr(properties, name)
        if name == "timestamp" and value is not None:
            value = EPOCH + timedelta(seconds=value)
        setattr(made, name, value)
    return made


def content(
    channel: int, method: Frame, properties: Properties, body: bytes, frame_max: int
) -> Iterator[bytes]:
    """The frames of a message."""
    yield marshal(method, channel)
    yield marshal(ContentHeader(0, len(body), as_pamqp(properties)), channel)
    most = frame_max - 8
    for at in range(0, len(body), most):
        yield marshal(ContentBody(body[at : at + most]), channel)
