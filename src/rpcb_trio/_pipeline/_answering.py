"""From outcomes to settled requests: what is encoded, what is dropped, and what replaces a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from rpcb_trio._claims import NO_CLAIMS, Claims
from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._messages import Answer, Failure, Request, Settled
from rpcb_trio._pipeline._cancels import Cancels, cancelled
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._pipeline._generations import Generations
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._remembered import RememberedReplies
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._transports import Rest, Session
from rpcb_trio.errors import EncodeError, Expired, OutcomeError, ReplyTooBig


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Encodes outcomes and settles the answers."""

    generations: Generations
    remembered: RememberedReplies
    drop_expired: bool
    max_reply_size: int | None
    """Bytes; None for the broker's own limit, as far as that is known."""
    instruments: Instruments
    ledger: Ledger
    cancels: Cancels
    claims: Claims = NO_CLAIMS

    async def answer(
        self,
        outcomes: Sequence[Resolved | Answer],
        encoding: Encoding,
        session: Session,
        is_followed: Callable[[Request], bool] = lambda _: False,
    ) -> list[Answer]:
        """Encode the outcomes among these; what is an answer already stays as it is.

        A success that others wait for is encoded, though its own caller has given it up.
        """
        ready, to_encode = list[Answer](), list[Resolved]()
        may_drop = self.drop_expired or self.cancels.is_on
        for each in outcomes:
            if isinstance(each, Answer):
                ready.append(each)
            elif may_drop and (dropped_for := self._why_dropped(each, is_followed)) is not None:
                ready.append(Answer(each.request, None, dropped_for))
            else:
                to_encode.append(each)
        encoded = await self._encode(to_encode, encoding, session)
        if self.remembered.is_on:
            await self.remembered.put(encoded)
        return [*ready, *encoded]

    def _why_dropped(self, resolved: Resolved, is_followed: Callable[[Request], bool]) -> OutcomeError | None:
        """Why it gets no reply; None where it gets one."""
        error = resolved.error
        if error is None and is_followed(resolved.request):
            return None
        if self.cancels.is_on and resolved.request in self.cancels:
            # What the service did wrong ends as ever: its operator hears of it, and dead letters are kept.
            return None if error is not None and error.kind == "service" else cancelled()
        return error if self.drop_expired and isinstance(error, Expired) else None

    async def settle(
        self, answers: Sequence[Answer], session: Session, rest: Rest | None = None
    ) -> tuple[Sequence[Answer], list[Settled]]:
        """Settle answers, or do the `rest` of it; returns what was sent in the end, and how each ended.

        In the place of a reply that can't be sent goes an error; where that can't be sent either, the request
        goes to the dead letters.
        """
        settled = await (session.settle(answers) if rest is None else rest())
        answers = list(answers)
        for replace in (self._errors, self._dead_letters):
            places = [n for n, ending in enumerate(settled) if ending is Settled.UNSENDABLE]
            if not places:
                break
            instead = await replace([answers[n] for n in places], session)
            endings = await session.settle(instead)
            for n, answer, ending in zip(places, instead, endings, strict=True):
                answers[n], settled[n] = answer, ending
        return answers, settled

    async def _encode(
        self, resolved: Sequence[Resolved], encoding: Encoding, session: Session
    ) -> list[Answer]:
        if not resolved:
            return []
        requests = [each.request for each in resolved]
        self.ledger.begin(requests)
        most = session.max_reply_size if self.max_reply_size is None else self.max_reply_size
        began = trio.current_time()
        answers = await encoding.encode(resolved, most)
        seconds = trio.current_time() - began if encoding.has_encode else None
        self.ledger.end(requests)  # not where it is cancelled: then the service's code may run on
        for answer in answers:
            if answer.error is not None:
                self.instruments.notify(Instrument.request_failed, answer.request, answer.error)
        self.instruments.notify(Instrument.replies_encoded, answers, seconds)
        return answers

    async def _errors(self, answers: Sequence[Answer], session: Session) -> list[Answer]:
        encoding = self.generations.current.encoding
        instead = dict[Answer, Answer]()
        most = session.max_reply_size
        if self.claims and most is not None:  # the broker has just named it
            instead = {each: claimed for each in answers if (claimed := await encoding.put(each, most))}
        lost = [each for each in answers if each not in instead]
        failed = [Resolved(each.request, Failure(why_unsendable(each, session))) for each in lost]
        instead |= zip(lost, await self._encode(failed, encoding, session), strict=True)
        return [instead[each] for each in answers]

    async def _dead_letters(self, answers: Sequence[Answer], _: Session) -> list[Answer]:
        reason = "neither the reply nor an error in its place can be sent"
        return [
            Answer(each.request, None, each.error, dead_letter=f"{reason}: {each.error}") for each in answers
        ]


def why_unsendable(answer: Answer, session: Session) -> OutcomeError:
    """The error in the place of a reply that the session can't send."""
    size = 0 if answer.reply is None else len(answer.reply.body)
    most = session.max_reply_size
    if most is not None and size > most:
        return ReplyTooBig(f"the reply has {size} bytes, and the broker takes {most}")
    return EncodeError("the reply can't be put into AMQP")
