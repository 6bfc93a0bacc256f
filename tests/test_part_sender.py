"""Parts on their way, in virtual time: a reply that is late keeps no other waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio import Request, Success
from rpcb_trio._instruments import Instruments
from rpcb_trio._parts import END
from rpcb_trio._pipeline import Encoding, Hooks, Resolved, _part_sender
from rpcb_trio._pipeline._part_sender import PartSender, Stream
from rpcb_trio._service import bind
from rpcb_trio._transports import Rest, Session
from rpcb_trio.instruments import Answer, Settled
from rpcb_trio.testing import in_place
from tests.scenarios import steady

PROMPT = 0.5
"""Seconds after which a confirm is late."""


class Slow:
    """A session that takes a part to each address after so many seconds."""

    max_reply_size = None

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.came: list[tuple[str, bytes, float]] = []

    async def settle(self, answers: Sequence[Answer]) -> list[Settled]:
        await trio.sleep(max(map(self._wait, answers)))
        return list(map(self._take, answers))

    async def settle_promptly(
        self, answers: Sequence[Answer]
    ) -> tuple[Sequence[Settled | None], Rest | None]:
        late = [answer for answer in answers if self._wait(answer) > PROMPT]
        await trio.sleep(PROMPT if late else 0)
        settled = [None if answer in late else self._take(answer) for answer in answers]

        async def rest() -> list[Settled]:
            await self.settle(late)
            return [Settled.REPLIED] * len(answers)

        return settled, rest if late else None

    def apart(self, answers: Sequence[Answer]) -> Sequence[Sequence[Answer]]:
        return [answers]

    def _wait(self, answer: Answer) -> float:
        return self.seconds[answer.request.reply_to or ""]

    def _take(self, answer: Answer) -> Settled:
        assert answer.is_part
        assert answer.reply is not None
        self.came.append((answer.request.reply_to or "", answer.reply.body, trio.current_time()))
        return Settled.REPLIED


class Replies:
    """Replies in parts over a slow session, and what has become of them."""

    def __init__(self, session: Slow, nursery: trio.Nursery) -> None:
        self._encoding = Encoding(bind(lambda bodies: bodies), Hooks(in_place, most=1))
        self.finished: list[tuple[str | None, Answer | Resolved, float]] = []
        self.session = session
        self.streams = {
            name: Stream(Request(body=b"", arrived=0.0, reply_to=name)) for name in session.seconds
        }
        self.sender = PartSender(
            self._encoding,
            cast("Session", session),
            self._finish,
            nursery=nursery,
            caught_up=trio.lowlevel.ParkingLot(),
            instruments=Instruments([]),
            max_size=None,
        )

    def _finish(self, ending: Answer | Resolved) -> None:
        self.finished.append((ending.request.reply_to, ending, trio.current_time()))

    async def send(self, *parts: tuple[str, bytes]) -> None:
        several = [(self.streams[name], Success(body)) for name, body in parts]
        await self.sender.send(several, has_turn=False)

    def end(self, name: str) -> None:
        self.streams[name].end(END, self._encoding)
        self.sender.finish([self.streams[name]])


@asynccontextmanager
async def sending(**seconds: float) -> AsyncIterator[Replies]:
    async with trio.open_nursery() as nursery:
        yield Replies(Slow(seconds), nursery)


async def test_a_late_reply_waits_apart_and_is_finished_after_its_last_part(
    autojump_clock: MockClock,
) -> None:
    async with sending(slow=10.0, quick=0.0) as replies:
        for number in range(4):
            await replies.send(("slow", b"%d" % number), ("quick", b"%d" % number))
        replies.end("quick")
        replies.end("slow")
    assert replies.session.came == [
        *(("quick", b"%d" % number, PROMPT) for number in range(4)),
        ("slow", b"0", 10.5),
        *(("slow", b"%d" % number, 20.5) for number in range(1, 4)),
    ]
    assert [(name, when) for name, _, when in replies.finished] == [("quick", PROMPT), ("slow", 20.5)]


async def test_a_reply_that_is_too_late_ends_with_an_error_and_keeps_no_memory(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_part_sender, "MOST_LATE", 10_000)
    async with sending(slow=10.0) as replies:
        for number in range(20):
            await replies.send(("slow", b"%d" % number))
        stream = replies.streams["slow"]
        assert stream.is_left
        assert not stream.late
        replies.sender.finish([stream])
    [(_, ending, when)] = replies.finished
    assert ending.error is not None
    assert (ending.error.code, when) == ("busy", 10.5)


async def test_while_all_are_late_it_is_waited_for_them(autojump_clock: MockClock) -> None:
    async with sending(one=10.0, other=20.0) as replies:
        await replies.send(("one", b"1"))
        await replies.send(("other", b"2"))
        await replies.sender.catch_up([*replies.streams.values()])
        assert trio.current_time() == 10.5


names = ("a", "b", "c")
waits = st.sampled_from([0.0, 0.25, 0.75, 3.0])


@settings(steady, max_examples=60)
@given(
    seconds=st.fixed_dictionaries(dict.fromkeys(names, waits)),
    groups=st.lists(st.lists(st.sampled_from(names), min_size=1, max_size=4), max_size=6),
    pause=waits,
)
def test_whatever_is_late_each_reply_comes_whole_in_order_and_its_end_last(
    seconds: dict[str, float], groups: list[list[str]], pause: float
) -> None:
    sent = dict[str, list[bytes]]((name, []) for name in names)

    async def run() -> Replies:
        async with sending(**seconds) as replies:
            for group in groups:
                parts = list[tuple[str, bytes]]()
                for name in group:
                    sent[name].append(b"%d" % len(sent[name]))
                    parts.append((name, sent[name][-1]))
                await replies.send(*parts)
                await trio.sleep(pause)
            for name in names:
                replies.end(name)
        return replies

    replies = trio.run(run, clock=MockClock(autojump_threshold=0))
    ends = {name: when for name, _, when in replies.finished}
    for name in names:
        came = [(body, when) for to, body, when in replies.session.came if to == name]
        assert [body for body, _ in came] == sent[name]
        assert ends[name] >= max([when for _, when in came], default=0.0)
        assert seconds[name] > PROMPT or ends[name] <= (PROMPT + pause) * len(groups) + PROMPT
