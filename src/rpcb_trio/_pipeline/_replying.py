"""The last stage: replies are encoded and published, and their requests settled."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import trio

from rpcb_trio._instruments import Instrument
from rpcb_trio._messages import Answer, Settled
from rpcb_trio._pipeline._cancels import cancelled
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._resolved import Resolved
from rpcb_trio._pipeline._shared import Outcomes, Shared, at_hand
from rpcb_trio._transports import Rest


class Replying:
    """Answers what is computed, or refused."""

    def __init__(self, shared: Shared) -> None:
        self._nursery = shared.nursery
        self._session = shared.session
        self._rule = shared.rule
        self._follower = shared.follower
        self._flights = shared.flights
        self._pipeline = shared.pipeline
        self._instruments = shared.pipeline.instruments
        self._ledger = shared.pipeline.ledger
        self._cancels = shared.pipeline.cancels

    async def reply(self, computed: trio.MemoryReceiveChannel[Outcomes]) -> None:
        """Encode and settle; all that is ready goes in one write to the broker.

        What the broker is slow to confirm, or would not take, is settled in tasks of their own. It is held
        until then, so the prefetch bounds how many there are.
        """
        with computed:
            async for first in computed:
                outcomes = [first, *at_hand(computed)]
                await self._answer(outcomes)
                del first, outcomes  # while it waits for the next, it keeps no body that is settled by then

    async def _answer(self, outcomes: Sequence[Outcomes]) -> None:
        session = self._session
        by_generation = dict[Generation, list[Resolved | Answer]]()
        for each in outcomes:
            # Each is encoded by the service that computed it.
            by_generation.setdefault(each.generation, []).extend(each.several)
        answers = list[Answer]()
        for generation, several in by_generation.items():
            answered = await self._pipeline.answering.answer(
                several, generation.encoding, session, self._flights.followed
            )
            if self._flights:
                self._flights.land(answered, generation)
                answered = self._without_given_up_replies(answered)
                self._instruments.notify(Instrument.cache_changed, self._pipeline.contents.size)
            answers += answered
        for each in outcomes:
            each.generation.uses.end()
        prompt, *apart = session.apart(answers)
        for group in apart:
            self._nursery.start_soon(self.settle, group, range(len(group)), None)
        if not prompt:
            return
        settled, rest = await session.settle_promptly(prompt)
        over = [(answer, ending) for answer, ending in zip(prompt, settled, strict=True) if ending]
        if over:
            self._notify_settled([answer for answer, _ in over], [ending for _, ending in over])
        if rest is not None:
            left = [place for place, ending in enumerate(settled) if not ending]
            self._nursery.start_soon(self.settle, prompt, left, rest)

    def _without_given_up_replies(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers, but no reply that was made only for those who wait for an equal one."""
        return [
            Answer(each.request, None, cancelled())
            if each.error is None and each.request in self._cancels
            else each
            for each in answers
        ]

    async def settle(self, answers: Sequence[Answer], places: Collection[int], rest: Rest | None) -> None:
        """Settle answers, or do the `rest` of it, and notify of those at some places."""
        answers, settled = await self._pipeline.answering.settle(answers, self._session, rest)
        self._notify_settled([answers[place] for place in places], [settled[place] for place in places])

    def _notify_settled(self, answers: Sequence[Answer], settled: Sequence[Settled]) -> None:
        requests = [answer.request for answer in answers]
        self._ledger.settle(requests)
        if self._cancels.is_on:
            self._cancels.settle(requests)
        if self._rule.settled():
            self._follower.wake()
        claims = self._pipeline.answering.claims
        if claims and claims.concerns(answers):
            self._nursery.start_soon(claims.settled, answers, settled)
        self._instruments.notify(Instrument.requests_settled, answers, settled)
