"""The producer of the echo bench: when it sends, and which replies it lets pass."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pamqp import body as content  # noqa: TID251 - a broker is played here
from pamqp import commands, frame, header  # noqa: TID251 - as above

from benches.load import Replies
from benches.schedules import ClosedLoop, OpenLoop
from benches.wire import CHANNEL, SILENCE, Wire


class Connected(Wire):
    """A wire whose other end is in the test's hand."""

    def __init__(self) -> None:
        self.socket, self.broker = socket.socketpair()

    def ask(self, *_: Any, **__: Any) -> Any:
        return None

    def reply(self, body: bytes, correlation_id: str) -> None:
        frames: list[frame.FrameTypes] = [
            commands.Basic.Deliver("consumer", 1, False, "", "key"),  # noqa: FBT003 - pamqp's order
            header.ContentHeader(0, len(body), commands.Basic.Properties(correlation_id=correlation_id)),
            content.ContentBody(body[:40]),
            content.ContentBody(body[40:]),
        ]
        self.broker.sendall(b"".join(frame.marshal(each, CHANNEL) for each in frames))


@pytest.fixture
def wire() -> Iterator[Connected]:
    wire = Connected()
    with wire.socket, wire.broker:
        yield wire


def test_the_producer_counts_a_long_reply_once(wire: Connected) -> None:
    wire.reply(b"00000007" + 70 * b"x", "00000007")
    wire.reply(b"00000008" + 70 * b"x", "00000008")
    assert Replies(wire).take(SILENCE) == [7, 8]


def test_the_producer_refuses_a_reply_with_another_ones_id(wire: Connected) -> None:
    wire.reply(b"00000007" + 70 * b"x", "00000008")
    with pytest.raises(SystemExit, match="another one's correlation id"):
        Replies(wire).take(SILENCE)


def test_the_producer_goes_on_when_the_next_is_due_before_a_reply(wire: Connected) -> None:
    assert Replies(wire).take(0) == []


def test_a_closed_loop_sends_as_many_as_there_is_room_for() -> None:
    loop = ClosedLoop(total=40, in_flight=16)
    assert len(loop.due(sent=0, answered=0)) == 16
    assert len(loop.due(sent=16, answered=1)) == 0  # a burst is two
    assert len(loop.due(sent=16, answered=5)) == 5
    assert len(loop.due(sent=39, answered=39)) == 1
    assert len(loop.due(sent=40, answered=39)) == 0


def test_arrivals_are_the_same_for_all_servers_and_heed_no_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    one, other = (OpenLoop(total=500, rate=50, seed=7) for _ in range(2))
    assert list(one.due(0, 0)) == [100.0]
    assert 0 < one.patience(1) < 1
    now[0] = 110.0
    arrived = one.due(1, 0)
    assert arrived == other.due(1, 1)
    assert arrived == sorted(arrived)
    assert 400 < len(arrived) < 500
    assert all(100 < moment <= 110 for moment in arrived)
