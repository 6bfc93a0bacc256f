"""What becomes of the replies of one batch that the broker did not take at once.

They are offered again, or their confirms are waited for; each within bounds of time and of how many wait for
one address (`_destinations`). What is taken in the meantime is acked at once, whatever the others do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import trio

from rpcb_trio._messages import Answer, shown_address
from rpcb_trio._transports._amqp._blockage import Blockage
from rpcb_trio._transports._amqp._data import OPEN, Message, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._destinations import Destinations
from rpcb_trio._transports._amqp._outbox import UNCONFIRMED, Outbox
from rpcb_trio._transports._amqp._publishing import Sending

_log = logging.getLogger(__name__)

SLOW_SECONDS = 0.5
"""How long a batch waits for its confirms as one, and a replying task with it. A busy disk takes less."""

LOOK_SECONDS = 0.5
"""How often those that still wait are looked after."""

BEYOND_SHARE_SECONDS = 0.5
"""How much longer a reply waits for its confirm where too many wait for the same address already."""

STALL_SECONDS = 5.0
"""After so long without the confirm of any reply the worker is not ready."""

CONFIRM_SECONDS = 30.0
"""How long any reply waits for its confirm: longer than a quorum queue takes to elect a leader, shorter than
brokers wait for acks."""

UNDECIDED = frozenset({PublishStatus.LOST, PublishStatus.BLAMED, PublishStatus.NACKED})
"""What is said of replies that are worth another attempt."""


class Settlement:
    """The replies of one batch, of which the broker did not take all at once.

    Args:
        queue: where the requests came from, for the log.
        answers, messages, results: of the batch, in its order; `results` is brought up to date.
        ack: is given the places of replies that were decided.
        keeps_trying: whether a refused reply is offered again however many others to its address are.
    """

    def __init__(
        self,
        queue: str,
        answers: Sequence[Answer],
        messages: Sequence[Message | None],
        results: list[PublishResult],
        *,
        ack: Callable[[Collection[int]], None],
        keeps_trying: bool,
    ) -> None:
        self._queue = queue
        self._answers = answers
        self._messages = messages
        self._results = results
        self._ack = ack
        self._keeps_trying = keeps_trying

    async def finish(
        self, sending: Sending, outbox: Outbox, destinations: Destinations, blockage: Blockage
    ) -> None:
        """Bring all to an end.

        Raises:
            SessionLost: the connection is gone, or it is the worker or the broker that is in no condition.
        """
        places = range(len(self._results))
        await self._offer_again(places, outbox, destinations)
        late = [place for place in places if self._results[place] is OPEN]
        if late:
            await self._await_confirms(late, sending, outbox, destinations, blockage)
            await self._offer_again(late, outbox, destinations)

    async def _offer_again(self, places: Collection[int], outbox: Outbox, destinations: Destinations) -> None:
        """Offer again what was not taken, and have acked what then is."""
        begun = list[str]()
        again = [
            place
            for place in places
            if self._results[place].status in UNDECIDED and self._may_try(place, destinations, begun)
        ]
        if not again:
            return
        try:
            found = await outbox.insist(
                [self._messages[place] for place in again], [self._results[place] for place in again]
            )
        finally:
            for reply_to in begun:
                destinations.end_retry(reply_to)
        for place, result in zip(again, found, strict=True):
            self._results[place] = result
        self._ack(again)
        outbox.give_up(found)

    def _may_try(self, place: int, destinations: Destinations, begun: list[str]) -> bool:
        if self._results[place].status is not PublishStatus.NACKED:
            return True
        reply_to = self._address(place)
        destinations.blame(reply_to)
        if self._keeps_trying:
            return True
        if destinations.begin_retry(reply_to):
            begun.append(reply_to)
            return True
        return False

    async def _await_confirms(
        self,
        late: Sequence[int],
        sending: Sending,
        outbox: Outbox,
        destinations: Destinations,
        blockage: Blockage,
    ) -> None:
        """Wait for the broker's word, and give up where it takes others meanwhile, but not this."""
        since = trio.current_time()
        is_stalled = False
        left = list(late)
        for place in left:
            destinations.blame(self._address(place))
        with destinations.waiting([self._address(place) for place in left]) as are_beyond:
            patience = {
                place: BEYOND_SHARE_SECONDS if is_beyond else CONFIRM_SECONDS
                for place, is_beyond in zip(left, are_beyond, strict=True)
            }
            try:
                while left:
                    if blockage.is_alarm:  # nothing is confirmed, and nobody is to blame
                        await blockage.alarm_is_over()
                        since = trio.current_time()
                    found = await sending.results(LOOK_SECONDS)
                    for place in left:
                        self._results[place] = found[place]
                    self._ack(left)
                    left = [place for place in left if found[place] is OPEN]
                    waited = 0.0 if blockage.is_alarm else trio.current_time() - since
                    given_up = [
                        place
                        for place in left
                        if waited >= patience[place]
                        and (
                            destinations.others_passed(self._address(place), since)
                            or (waited >= CONFIRM_SECONDS and destinations.any_passed(since))
                        )
                    ]
                    self._give_up(given_up, sending, waited)
                    left = [place for place in left if place not in given_up]
                    if left and waited >= STALL_SECONDS and not destinations.any_passed(since):
                        is_stalled = True
                        blockage.stall(f"no reply was confirmed for {waited:.0f} s")
                    elif is_stalled:
                        is_stalled = False
                        blockage.stall(None)
                    if left and waited >= CONFIRM_SECONDS:
                        outbox.refuse(f"the broker has confirmed no reply for {waited:.0f} s")
            finally:
                if is_stalled:
                    blockage.stall(None)

    def _give_up(self, places: Sequence[int], sending: Sending, waited: float) -> None:
        sending.abandon(places)
        for place in places:
            self._results[place] = UNCONFIRMED
            request = self._answers[place].request
            _log.warning(
                "queue %s: the reply to %r of %s is given up: the broker did not confirm it within %.1f s, "
                "though it took others; has the quorum queue there a majority?",
                self._queue,
                request.correlation_id,
                shown_address(request.reply_to),
                waited,
            )

    def _address(self, place: int) -> str:
        return self._answers[place].request.reply_to or ""
