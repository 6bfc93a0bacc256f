"""The floor's own codec, held against another one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as content  # noqa: TID251 - the other one
from pamqp import commands, frame, header  # noqa: TID251 - as above

from benches.servers.floor_codec import Deliveries, Inbox, Request, ack, confirms, reply
from benches.wire import CHANNEL

FRAME_MAX = 128


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def delivery(number: int, data: bytes, properties: commands.Basic.Properties) -> bytes:
    deliver = commands.Basic.Deliver("consumer", number, False, "", "queue")  # noqa: FBT003 - pamqp's order
    pieces = [data[at : at + FRAME_MAX - 8] for at in range(0, len(data), FRAME_MAX - 8)]
    frames: list[frame.FrameTypes] = [deliver, header.ContentHeader(0, len(data), properties)]
    frames += map(content.ContentBody, pieces)
    return b"".join(frame.marshal(each, CHANNEL) for each in frames)


names = st.text(st.characters(codec="ascii"), min_size=1, max_size=40)


@given(
    body=st.binary(max_size=300),
    correlation_id=st.none() | names,
    reply_to=names,
    content_type=st.none() | names,
    headers=st.none() | st.dictionaries(names, st.integers(0, 9), min_size=1, max_size=2),
    priority=st.none() | st.integers(0, 9),
    cuts=st.lists(st.integers(1, 900), max_size=5),
)
def test_the_floor_reads_what_another_codec_writes_however_it_is_cut(
    *,
    body: bytes,
    correlation_id: str | None,
    reply_to: str,
    content_type: str | None,
    headers: dict[str, int] | None,
    priority: int | None,
    cuts: list[int],
) -> None:
    properties = commands.Basic.Properties(
        content_type=content_type,
        headers=headers,  # type: ignore[arg-type] # a dict of integers is a field table
        delivery_mode=2,
        priority=priority,
        correlation_id=correlation_id,
        reply_to=reply_to,
        timestamp=None,
        message_id="m",
    )
    data = delivery(1, body, properties) + delivery(2, body[::-1], properties)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    near, far = socket.socketpair()
    found: list[Request] = []
    with near, far:
        inbox, deliveries = Inbox(near), Deliveries()
        for first, last in pairwise(bounds):
            far.sendall(data[first:last])
            found += deliveries.requests(inbox.receive())
    name = None if correlation_id is None else bytes([len(correlation_id)]) + correlation_id.encode()
    assert found == [Request(reply_to.encode(), name, each) for each in (body, body[::-1])]


@given(body=st.binary(max_size=300), correlation_id=st.none() | names, reply_to=names)
def test_another_codec_reads_what_the_floor_writes(
    body: bytes, correlation_id: str | None, reply_to: str
) -> None:
    name = None if correlation_id is None else bytes([len(correlation_id)]) + correlation_id.encode()
    data = reply(Request(reply_to.encode(), name, body), body, FRAME_MAX)
    frames = []
    while data:
        size, channel, each = frame.unmarshal(data)
        assert channel == CHANNEL
        assert size <= FRAME_MAX
        frames.append(each)
        data = data[size:]
    publish, head, *pieces = frames
    assert isinstance(publish, commands.Basic.Publish)
    assert (publish.exchange, publish.routing_key) == ("", reply_to)
    assert publish.mandatory == (not reply_to.startswith("amq.rabbitmq.reply-to."))
    assert isinstance(head, header.ContentHeader)
    assert head.body_size == len(body)
    assert head.properties.correlation_id == correlation_id
    assert head.properties.content_type == "application/octet-stream"
    assert b"".join(piece.value for piece in pieces) == body  # type: ignore[union-attr] # bodies follow


def test_the_floor_takes_confirms_and_acks_all_up_to_a_request(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    for number, multiple in ((2, False), (5, True)):
        far.sendall(frame.marshal(commands.Basic.Ack(number, multiple), CHANNEL))
    assert list(confirms(Inbox(near).receive())) == [(2, False), (5, True)]
    _, channel, acked = frame.unmarshal(ack(5))
    assert channel == CHANNEL
    assert isinstance(acked, commands.Basic.Ack)
    assert (acked.delivery_tag, acked.multiple) == (5, True)


def test_the_floor_ends_when_a_reply_is_not_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    far.sendall(frame.marshal(commands.Basic.Nack(1), CHANNEL))
    with pytest.raises(SystemExit, match="did not take"):
        list(confirms(Inbox(near).receive()))
