"""Whatever bytes a broker sends, they are read as events or refused, and nothing else is raised."""

from __future__ import annotations

import struct
from random import Random
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._transports._amqp._data._closing import closing_of
from rpcb_trio._transports._codec import _frames as frames
from rpcb_trio._transports._codec._frames import Control, Event, FrameReader, MalformedFrame
from tests.raw_frames import BODY, DELIVER, RETURN, TAG, frame, header, method, short
from tests.scenarios import steady


def read_to_the_end(stream: bytes, step: int) -> list[Event] | MalformedFrame:
    """What a reader makes of a stream that comes in reads of such a size."""
    reader = FrameReader()
    events: list[Event] = []
    try:
        for at in range(0, len(stream), step):
            events += reader.feed(stream[at : at + step])
    except MalformedFrame as exc:
        return exc
    return events


STREAM = (
    DELIVER + header(4, b"\x04\x00\x02id") + BODY
    + RETURN + header(0, b"\x00\x80\x02id")
    + method(frames.ACK, struct.pack(">QB", TAG, 1))
    + frames.HEARTBEAT_FRAME
    + DELIVER + header(8, b"\x00\x00") + BODY + BODY
    + method(20 << 16 | 40, struct.pack(">H", 404) + short(b"NOT_FOUND") + bytes(4))
)  # fmt: skip


@given(stream=st.binary(max_size=200), step=st.integers(1, 200))
@steady
def test_any_bytes_are_events_or_no_amqp(stream: bytes, step: int) -> None:
    read_to_the_end(stream, step)


parts = st.one_of(
    st.sampled_from(
        [DELIVER, RETURN, BODY, frames.HEARTBEAT_FRAME, header(4, b"\x00\x00"), header(2**64 - 1, bytes(2))]
    ),
    st.builds(frame, st.sampled_from([1, 2, 3, 4, 8]), st.binary(max_size=20), st.integers(0, 2)),
    st.builds(
        method,
        st.sampled_from([frames.DELIVER, frames.RETURN, frames.ACK, frames.NACK, 10 << 16 | 50]),
        st.binary(max_size=20),
    ),
)


@given(found=st.lists(parts, max_size=8), step=st.integers(1, 200))
@steady
def test_any_frames_in_any_order_are_events_or_no_amqp(found: list[bytes], step: int) -> None:
    stream = b"".join(found)
    events = read_to_the_end(stream, step)
    at_once = read_to_the_end(stream, len(stream) or 1)
    assert type(events) is type(at_once), "it does not matter how reads split it"
    assert isinstance(events, MalformedFrame) or events == at_once


@given(random=st.randoms(use_true_random=False), step=st.integers(1, 200))
@steady
def test_a_stream_with_bytes_that_were_changed_lost_or_added_is_events_or_no_amqp(
    random: Random, step: int
) -> None:
    stream = bytearray(STREAM)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(stream))
        stream[at : at + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
    events = read_to_the_end(bytes(stream), step)
    if not isinstance(events, MalformedFrame):
        for event in events:
            if isinstance(event, Control):
                closing_of(event)


def test_a_stream_that_is_cut_short_waits_for_the_rest() -> None:
    whole = FrameReader().feed(STREAM)
    for size in range(len(STREAM)):
        reader = FrameReader()
        assert reader.feed(STREAM[:size]) + reader.feed(STREAM[size:]) == whole


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "a frame of kind 72"),
        (b"AMQP\x00\x00\x09\x01", "a frame of kind 65"),
        (struct.pack(">BHI", 1, 0, 2**32 - 1), "a frame of kind 1 and 4294967295 bytes"),
        (DELIVER[:-1] + b"\x00", "does not end where it should"),
        (DELIVER + header(4, bytes(2)) + BODY[:-1] + b"\x00", "does not end where it should"),
        (DELIVER + header(9, bytes(2)) + BODY + BODY[:-1] + b"\x00", "does not end where it should"),
        (DELIVER + DELIVER, "in the middle of a message"),
        (DELIVER + header(9, bytes(2)) + BODY + DELIVER, "in the middle of a message"),
        (header(4, bytes(2)), "belongs to nothing"),
        (DELIVER + BODY, "belongs to nothing"),
        (BODY, "belongs to nothing"),
        (DELIVER + header(3, bytes(2)) + BODY, "longer than its header says"),
        (DELIVER + header(3, bytes(2)) + BODY[:9], "longer than its header says"),
        (DELIVER + frame(2, bytes(13)), "cut short"),
        (frame(1, b"\x00\x3c"), "without a number"),
        (method(frames.DELIVER, b"\xff"), "cut short"),
        (method(frames.DELIVER, short(b"") + bytes(9) + b"\x01x\x02x"), "wrong length"),
        (method(frames.ACK, b"") + frames.HEARTBEAT_FRAME, "wrong length"),
    ],
)
def test_what_no_broker_sends_is_refused_in_words(stream: bytes, why: str) -> None:
    reader = FrameReader()
    with pytest.raises(MalformedFrame, match=why):
        reader.feed(stream)


def test_a_close_that_is_cut_short_closes_all_the_same() -> None:
    closings = [
        closing_of(Control(1, 20 << 16 | 40, method(20 << 16 | 40, arguments)))
        for arguments in (b"", b"\x01", b"\x01\x94", b"\x01\x94\x09NOT")
    ]
    assert [closing.code for closing in closings] == [0, 0, 404, 404]
    assert closings[-1].why == "NOT"


def test_what_is_kept_between_reads_is_no_more_than_the_messages_under_way() -> None:
    reader = FrameReader()
    reader.feed(DELIVER + header(2**40, bytes(2)))
    empty = frame(frames.BODY, b"") * 1000
    for _ in range(100):
        assert reader.feed(empty + frames.HEARTBEAT_FRAME * 1000)
    [content] = reader._contents.values()
    assert content.pieces == []
    assert getsizeof(reader._rest) < 100
