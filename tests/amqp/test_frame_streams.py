"""Whatever order frames come in and however reads split them, they are read as the messages they are."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands  # noqa: TID251 - the judge
from pamqp.base import Frame  # noqa: TID251 - likewise
from pamqp.commands import Basic  # noqa: TID251 - likewise
from pamqp.frame import marshal  # noqa: TID251 - likewise
from pamqp.heartbeat import Heartbeat  # noqa: TID251 - likewise

from rpcb_trio._transports._codec._frames import (
    Confirm,
    Control,
    Delivery,
    Event,
    FrameReader,
    Returned,
)
from rpcb_trio._transports._codec._properties import Properties
from tests.amqp.contents import FRAME_MAX, any_properties, bodies, content, names, tags, texts
from tests.scenarios import steady


def short(text: str) -> bytes:
    return bytes([len(text.encode())]) + text.encode()


def read(stream: bytes) -> list[Event]:
    reader = FrameReader()
    reader.frame_max = FRAME_MAX
    return reader.feed(stream)


deliveries = st.builds(
    lambda channel, tag, again, exchange, key, properties, body: (
        list(
            content(
                channel, Basic.Deliver("consumer", tag, again, exchange, key), properties, body, FRAME_MAX
            )
        ),
        Delivery(channel, tag, again, short(exchange) + short(key), with_texts(properties), body),
    ),
    st.integers(1, 3),
    tags,
    st.booleans(),
    names,
    texts,
    any_properties,
    bodies,
)
returns = st.builds(
    lambda channel, key, properties, body: (
        list(content(channel, Basic.Return(312, "NO_ROUTE", "", key), properties, body, FRAME_MAX)),
        Returned(channel, 312, with_texts(properties)),
    ),
    st.integers(1, 3),
    texts,
    any_properties,
    bodies,
)
confirms = st.builds(
    lambda channel, tag, multiple, kind: (
        [marshal(kind(delivery_tag=tag, multiple=multiple), channel)],
        Confirm(channel, tag, multiple, kind is Basic.Ack),
    ),
    st.integers(1, 3),
    tags,
    st.booleans(),
    st.sampled_from([Basic.Ack, Basic.Nack]),
)
CONTROLS: list[tuple[int, int, Frame | Heartbeat]] = [
    (0, 0, Heartbeat()),
    (0, 10 << 16 | 60, commands.Connection.Blocked("low on memory")),
    (4, 50 << 16 | 11, commands.Queue.DeclareOk("q", 1, 2)),
    (2, 20 << 16 | 40, commands.Channel.Close(404, "no such queue", 60, 20)),
]
controls = st.sampled_from(
    [
        ([marshal(frame, channel)], Control(channel, method, marshal(frame, channel)))
        for channel, method, frame in CONTROLS
    ]
)


def with_texts(properties: Properties) -> Properties:
    """As pamqp writes them: it leaves out empty texts."""
    return Properties(
        **{
            name: None if (value := getattr(properties, name)) == "" else value
            for name in Properties.__struct_fields__
        }
    )


traffic = st.lists(st.one_of(deliveries, returns, confirms, controls), max_size=6)


def woven(messages: list[tuple[list[bytes], Event]], random: Random) -> tuple[list[bytes], list[Event]]:
    """The frames of several channels in between one another, each channel's in their order."""
    left: dict[int, list[tuple[bytes, list[Event]]]] = {}
    for frames, event in messages:
        way = left.setdefault(event.channel, [])
        way += [(each, []) for each in frames[:-1]]
        way.append((frames[-1], [event]))
    stream: list[bytes] = []
    events: list[Event] = []
    while left:
        channel = random.choice(sorted(left))
        frame, complete = left[channel].pop(0)
        stream.append(frame)
        events += complete
        if not left[channel]:
            del left[channel]
    return stream, events


@given(traffic, st.randoms(use_true_random=False))
@steady
def test_the_frames_of_several_channels_are_read_as_their_messages_and_the_rest_byte_for_byte(
    messages: list[tuple[list[bytes], Event]], random: Random
) -> None:
    stream, events = woven(messages, random)
    assert read(b"".join(stream)) == events


@given(traffic, st.randoms(use_true_random=False), st.lists(st.integers(0, 40_000), max_size=12))
@steady
def test_it_does_not_matter_how_reads_split_the_stream(
    messages: list[tuple[list[bytes], Event]], random: Random, cuts: list[int]
) -> None:
    stream, events = woven(messages, random)
    assert split(b"".join(stream), cuts) == events


@given(
    st.lists(st.one_of(returns, confirms, controls, deliveries), max_size=2),
    st.randoms(use_true_random=False),
)
@settings(steady, max_examples=50)
def test_a_stream_may_come_byte_by_byte(messages: list[tuple[list[bytes], Event]], random: Random) -> None:
    stream, events = woven(messages, random)
    whole = b"".join(stream)
    assert split(whole, list(range(len(whole)))) == events


def split(stream: bytes, cuts: list[int]) -> list[Event]:
    reader = FrameReader()
    reader.frame_max = FRAME_MAX
    edges = [0, *sorted(cuts), len(stream)]
    return [event for start, stop in pairwise(edges) for event in reader.feed(stream[start:stop])]


@given(st.binary(max_size=255), st.binary(max_size=255))
@steady
def test_a_routing_key_is_told_apart_from_its_exchange_and_read_though_it_is_no_text(
    exchange: bytes, key: bytes
) -> None:
    where = bytes([len(exchange)]) + exchange + bytes([len(key)]) + key
    assert Delivery(1, 1, False, where, None, b"").routing_key == key.decode(errors="replace")  # noqa: FBT003 - as frames make it
