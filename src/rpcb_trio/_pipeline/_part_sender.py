"""The parts of replies on their way to the callers.

The parts that come together are encoded together and go out in one write. The next ones follow once the
broker has confirmed them, so the parts of a reply keep their order. A reply whose parts the broker is slow to
take becomes late: what it has further waits apart, and follows in a task of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._messages import (
    END_HEADER,
    NO_HEADERS,
    PART_HEADER,
    Answer,
    Failure,
    Outcome,
    Request,
    Settled,
    Success,
)
from rpcb_trio._parts import END, End
from rpcb_trio._pipeline._answering import why_unsendable
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._transports import Rest, Session
from rpcb_trio.errors import Busy, CallerCancelled, CallerGone, InferError, OutcomeError

MOST_LATE = 16 * 2**20
"""Bytes of one reply that may wait while the broker takes what is before them, and others are computed."""

OVERHEAD = 1024
"""Bytes that a part takes beside its body."""


class Part(Answer, frozen=True, eq=False, kw_only=True):
    """A part, which knows what it is a part of."""

    stream: Stream


class Stream:
    """One reply in parts, and how far it has come."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.headers: Mapping[str, object] = NO_HEADERS
        """Of its next messages, about their batch."""
        self.position = 0
        """The number of the next part that is computed."""
        self.sent: list[int] = []
        """A hash of each part that went out."""
        self.late: deque[Part] | None = None
        """What waits for the broker to take what is before it; None where it does so in time."""
        self.late_bytes = 0
        self.ending: Answer | Resolved | None = None
        """Its last message, which goes out once all parts are confirmed."""
        self.is_left = False
        """Whether nobody wants what is computed of it further."""
        self.is_finished = False

    def next_part(self, part: Success[Any]) -> Resolved:
        number, self.position = self.position, self.position + 1
        return Resolved(self.request, part, {**self.headers, PART_HEADER: number})

    def end(self, ending: Outcome[Any] | End, encoding: Encoding) -> None:
        """Nothing more is computed of it."""
        if ending is END:
            self.ending = encoding.end(self.request, self.headers)
        else:
            self.ending = Resolved(self.request, ending, {**self.headers, END_HEADER: True})

    def leave(self, error: OutcomeError) -> None:
        """End it, though more would be computed: its caller gets an error, if there is one."""
        if self.ending is None:
            self.is_left = True
            is_gone = isinstance(error, CallerGone | CallerCancelled)
            self.ending = Answer(self.request, None, error) if is_gone else self._failed(error)
            if self.late is not None:
                self.late.clear()

    def _failed(self, error: OutcomeError) -> Resolved:
        return Resolved(self.request, Failure(error), {**self.headers, END_HEADER: True})

    def is_new(self, number: int, body: bytes) -> bool:
        """Whether a part has not gone out before; one that comes again must be the same."""
        known = hash(body)
        if number == len(self.sent):
            self.sent.append(known)
            return True
        if self.sent[number] != known:
            self.leave(InferError("infer failed, and was begun anew, but yielded other parts than before"))
        return False


class PartSender:
    """Sends the parts of one batch.

    Args:
        encoding: of the service.
        session: takes them.
        finish: takes the last message of each, once its parts are confirmed.
        nursery: for what is late.
        caught_up: where it is waited for what is late, of whatever sender of the session.
        instruments: are told.
        max_size: bytes of the largest part.
    """

    def __init__(
        self,
        encoding: Encoding,
        session: Session,
        finish: Callable[[Answer | Resolved], None],
        *,
        nursery: trio.Nursery,
        caught_up: trio.lowlevel.ParkingLot,
        instruments: Instruments,
        max_size: int | None,
    ) -> None:
        self._encoding = encoding
        self._session = session
        self._finish = finish
        self._nursery = nursery
        self._instruments = instruments
        self._max_size = max_size
        self._caught_up = caught_up

    async def send(self, parts: Sequence[tuple[Stream, Success[Any]]], *, has_turn: bool) -> None:
        """Encode parts, and send each to the caller of its stream; `has_turn` as for `Encoding.encode`."""
        resolved = [stream.next_part(part) for stream, part in parts]
        most = self._session.max_reply_size if self._max_size is None else self._max_size
        answers = await self._encoding.encode(resolved, most, has_turn=has_turn)
        ready = list[Part]()
        for (stream, _), each, answer in zip(parts, resolved, answers, strict=True):
            assert answer.reply is not None  # noqa: S101 - for the type checker
            if stream.ending is not None:
                continue
            if answer.error is not None:
                stream.leave(answer.error)
                continue
            number = each.headers[PART_HEADER]
            assert isinstance(number, int)  # noqa: S101 - for the type checker
            if stream.is_new(number, answer.reply.body):
                part = Part(stream.request, answer.reply, is_part=True, stream=stream)
                if stream.late is None:
                    ready.append(part)
                else:
                    _wait(stream, stream.late, part, len(answer.reply.body))
        if ready:
            await self._send(ready)

    def finish(self, streams: Sequence[Stream]) -> None:
        """Pass on the last messages of those that have ended and are not late."""
        for stream in streams:
            if stream.ending is not None and stream.late is None and not stream.is_finished:
                stream.is_finished = True
                self._finish(stream.ending)

    def wake(self) -> None:
        """Look again at what is late: one may have ended."""
        self._caught_up.unpark_all()

    async def catch_up(self, streams: Sequence[Stream]) -> None:
        """Wait while all of these are late, and have not ended."""
        while streams and all(stream.late is not None and stream.ending is None for stream in streams):
            await self._caught_up.park()

    async def _send(self, parts: Sequence[Part]) -> None:
        prompt, *apart = self._session.apart(parts)
        for group in apart:
            self._delay(_parts(group), range(len(group)), partial(self._session.settle, group))
        if prompt:
            sent = _parts(prompt)
            settled, rest = await self._session.settle_promptly(sent)
            self._note(sent, settled)
            if rest is not None:
                self._delay(sent, [place for place, ending in enumerate(settled) if not ending], rest)

    def _delay(self, parts: Sequence[Part], places: Collection[int], rest: Rest) -> None:
        for place in places:
            parts[place].stream.late = deque()
        self._nursery.start_soon(self._settle, parts, places, rest)

    async def _settle(self, parts: Sequence[Part], places: Collection[int], rest: Rest) -> None:
        settled = await rest()
        late = [parts[place] for place in places]
        self._note(late, [settled[place] for place in places])
        for stream in dict.fromkeys(part.stream for part in late):
            self._nursery.start_soon(self._follow, stream)

    async def _follow(self, stream: Stream) -> None:
        """Send what has waited behind parts that the broker has taken now."""
        while stream.late:
            parts = [*stream.late]
            stream.late.clear()
            stream.late_bytes = 0
            self._note(parts, await self._session.settle(parts))
        stream.late = None
        self.finish([stream])
        self.wake()

    def _note(self, parts: Sequence[Part], settled: Sequence[Settled | None]) -> None:
        confirmed = list[Part]()
        for part, ending in zip(parts, settled, strict=True):
            if ending is Settled.REPLIED:
                confirmed.append(part)
            elif ending is Settled.UNROUTABLE:
                part.stream.leave(CallerGone("its caller is gone; the rest of its reply was not computed"))
            elif ending is Settled.UNSENDABLE:
                part.stream.leave(why_unsendable(part, self._session))
            elif ending is not None:
                part.stream.leave(Busy("the broker refused a part of the reply; is the reply queue full?"))
        if confirmed:
            self._instruments.notify(Instrument.parts_sent, confirmed)


def _wait(stream: Stream, late: deque[Part], part: Part, size: int) -> None:
    late.append(part)
    stream.late_bytes += OVERHEAD + size
    if stream.late_bytes > MOST_LATE:
        stream.leave(Busy("the parts of the reply are taken too slowly; is the reply queue full?"))


def _parts(answers: Sequence[Answer]) -> list[Part]:
    return [each for each in answers if isinstance(each, Part)]
