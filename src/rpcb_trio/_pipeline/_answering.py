"""From outcomes to settled requests: what is encoded, what is dropped, and what replaces a reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpcb_trio._errors import EncodeError, Expired, OutcomeError, ReplyTooBig
from rpcb_trio._instruments import Instrument, Instruments
from rpcb_trio._messages import Answer, Failure, Settled
from rpcb_trio._pipeline._codec import Codec, Resolved
from rpcb_trio._pipeline._ledger import Ledger
from rpcb_trio._pipeline._reply_cache import ReplyCache
from rpcb_trio._transports import Rest, Session


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Encodes outcomes and settles the answers."""

    codec: Codec
    reply_cache: ReplyCache
    drop_expired: bool
    max_reply_size: int | None
    """Bytes; None for the broker's own limit, as far as that is known."""
    instruments: Instruments
    ledger: Ledger

    async def answer(self, outcomes: Sequence[Resolved | Answer], session: Session) -> list[Answer]:
        """Encode the outcomes among these; what is an answer already stays as it is."""
        ready, to_encode = self._divide(outcomes)
        encoded = await self._encode(to_encode, session)
        if self.reply_cache.is_on:
            await self.reply_cache.put(encoded)
        return [*ready, *encoded]

    async def settle(
        self, answers: Sequence[Answer], session: Session, rest: Rest | None = None
    ) -> tuple[Sequence[Answer], list[Settled]]:
        """Settle answers, or do the `rest` of it; returns what was sent in the end, and how each ended."""
        settled = await (session.settle(answers) if rest is None else rest())
        if Settled.UNSENDABLE in settled:
            answers = list(answers)
            await self._replace(answers, settled, session)
        return answers, settled

    def _divide(self, outcomes: Sequence[Resolved | Answer]) -> tuple[list[Answer], list[Resolved]]:
        ready, to_encode = list[Answer](), list[Resolved]()
        for each in outcomes:
            if isinstance(each, Answer):
                ready.append(each)
            elif self.drop_expired and isinstance(each.error, Expired):
                ready.append(Answer(each.request, None, each.error))
            else:
                to_encode.append(each)
        return ready, to_encode

    async def _encode(self, resolved: Sequence[Resolved], session: Session) -> list[Answer]:
        if not resolved:
            return []
        requests = [each.request for each in resolved]
        self.ledger.begin(requests)
        answers = await self.codec.encode(resolved, self._limit(session))
        self.ledger.end(requests)  # not where it is cancelled: then the service's code may run on
        for answer in answers:
            if answer.error is not None:
                self.instruments.notify(Instrument.request_failed, answer.request, answer.error)
        return answers

    def _limit(self, session: Session) -> int | None:
        return session.max_reply_size if self.max_reply_size is None else self.max_reply_size

    async def _replace(self, answers: list[Answer], settled: list[Settled], session: Session) -> None:
        """Answer with an error where a reply can't be sent; where that can't either, use the dead letters."""
        places = _unsendable(settled)
        errors = [self._error(answers[n], session) for n in places]
        failed = [
            Resolved(answers[n].request, Failure(error)) for n, error in zip(places, errors, strict=True)
        ]
        await self._settle_at(places, await self._encode(failed, session), answers, settled, session)
        places = _unsendable(settled)
        if places:
            dead_letters = [_dead_letter(answers[n]) for n in places]
            await self._settle_at(places, dead_letters, answers, settled, session)

    async def _settle_at(
        self,
        places: Sequence[int],
        instead: Sequence[Answer],
        answers: list[Answer],
        settled: list[Settled],
        session: Session,
    ) -> None:
        again = await session.settle(instead)
        for n, answer, ending in zip(places, instead, again, strict=True):
            answers[n], settled[n] = answer, ending

    def _error(self, answer: Answer, session: Session) -> OutcomeError:
        assert answer.reply is not None  # noqa: S101 - for the type checker
        size, most = len(answer.reply.body), session.max_reply_size
        if most is not None and size > most:
            return ReplyTooBig(f"the reply has {size} bytes, and the broker takes {most}")
        return EncodeError("the reply can't be put into AMQP")


def _unsendable(settled: Sequence[Settled]) -> list[int]:
    return [n for n, ending in enumerate(settled) if ending is Settled.UNSENDABLE]


def _dead_letter(answer: Answer) -> Answer:
    reason = "neither the reply nor an error in its place can be sent"
    return Answer(answer.request, None, answer.error, dead_letter=f"{reason}: {answer.error}")
