"""What becomes of the replies of one batch that the broker did not take at once.

They are sent again, or their confirms are waited for; each within bounds of time and of how many wait for
one address (`_destinations`). What is taken in the meantime is acked at once, whatever the others do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from rpcb_trio._messages import Answer, shown_address
from rpcb_trio._tracing import ids_of
from rpcb_trio._transports._amqp._data._publications import OPEN, Publication, PublishStatus
from rpcb_trio._transports._amqp._session._blockage import Blockage
from rpcb_trio._transports._amqp._session._destinations import Destinations
from rpcb_trio._transports._amqp._session._outbox import UNDECIDED, Outbox
from rpcb_trio._transports._amqp._session._outbox_channel import OutboxChannel

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


class PublishedReply(Publication, kw_only=True):
    """The reply of an answer, on its way."""

    answer: Answer

    @property
    def reply_to(self) -> str:
        return self.answer.request.reply_to or ""


class Settlement:
    """The replies of one batch, of which the broker did not take all at once.

    Args:
        queue: where the requests came from, for the log.
        ack: acks the requests of those replies that were taken.
        keeps_trying: whether a reply that was nacked is sent again however many others to its address are.
    """

    def __init__(
        self,
        queue: str,
        outbox: Outbox,
        destinations: Destinations,
        blockage: Blockage,
        *,
        ack: Callable[[Sequence[PublishedReply]], None],
        keeps_trying: bool,
    ) -> None:
        self._queue = queue
        self._outbox = outbox
        self._destinations = destinations
        self._blockage = blockage
        self._ack = ack
        self._keeps_trying = keeps_trying

    async def finish(self, replies: Sequence[PublishedReply], channel: OutboxChannel) -> None:
        """Bring all to an end that were sent on `channel`.

        Raises:
            SessionLost: the connection is gone, or it is the worker or the broker that is in no condition.
        """
        await self._retry(replies)
        late = [reply for reply in replies if reply.result is OPEN]
        if late:
            await self._await_confirms(late, channel)
            await self._retry(late)

    async def _retry(self, replies: Sequence[PublishedReply]) -> None:
        """Send again what was not taken, and have acked what then is."""
        begun = list[str]()
        again = [
            reply for reply in replies if reply.result.status in UNDECIDED and self._may_retry(reply, begun)
        ]
        if not again:
            return
        try:
            await self._outbox.retry(again)
        finally:
            for reply_to in begun:
                self._destinations.end_retry(reply_to)
        self._ack(again)
        self._outbox.end_session_if_lost(again)

    def _may_retry(self, reply: PublishedReply, begun: list[str]) -> bool:
        if reply.result.status is not PublishStatus.NACKED:
            return True
        self._destinations.blame(reply.reply_to)
        if self._keeps_trying:
            return True
        if self._destinations.begin_retry(reply.reply_to):
            begun.append(reply.reply_to)
            return True
        return False

    async def _await_confirms(self, late: Sequence[PublishedReply], channel: OutboxChannel) -> None:
        """Wait for the broker's word, and give up where it takes others meanwhile, but not this."""
        for reply in late:
            self._destinations.blame(reply.reply_to)
        with self._destinations.waiting([reply.reply_to for reply in late]) as are_beyond:
            beyond = {reply for reply, is_beyond in zip(late, are_beyond, strict=True) if is_beyond}
            stalled = False
            try:
                left, since = list(late), trio.current_time()
                while left:
                    if self._blockage.is_alarm:  # nothing is confirmed, and no address is to blame
                        await self._blockage.alarm_is_over()
                        since = trio.current_time()
                    await self._outbox.results(channel, left, LOOK_SECONDS)
                    self._ack(left)
                    waited = 0.0 if self._blockage.is_alarm else trio.current_time() - since
                    left = self._without_given_up(left, beyond, waited, since)
                    any_passed = self._destinations.any_passed(since)
                    if left and waited >= STALL_SECONDS and not any_passed:
                        stalled = True
                        self._blockage.stall(f"no reply was confirmed for {waited:.0f} s")
                    elif stalled:
                        stalled = False
                        self._blockage.stall(None)
                    if left and waited >= CONFIRM_SECONDS:
                        self._outbox.end_session(f"the broker has confirmed no reply for {waited:.0f} s")
            finally:
                if stalled:
                    self._blockage.stall(None)

    def _without_given_up(
        self, replies: Sequence[PublishedReply], beyond: set[PublishedReply], waited: float, since: float
    ) -> list[PublishedReply]:
        """Those that wait still; the others have their result, or get it here."""
        left = list[PublishedReply]()
        for reply in replies:
            if reply.result is not OPEN:
                continue
            most = BEYOND_SHARE_SECONDS if reply in beyond else CONFIRM_SECONDS
            others_passed = self._destinations.others_passed(reply.reply_to, since)
            any_passed = waited >= CONFIRM_SECONDS and self._destinations.any_passed(since)
            if waited >= most and (others_passed or any_passed):
                self._give_up(reply, waited)
            else:
                left.append(reply)
        return left

    def _give_up(self, reply: PublishedReply, waited: float) -> None:
        reply.give_up()
        _log.warning(
            "queue %s: the reply to %r of %s is given up: the broker did not confirm it within %.1f s, "
            "though it took others; has the quorum queue there a majority?",
            self._queue,
            reply.answer.request.correlation_id,
            shown_address(reply.answer.request.reply_to),
            waited,
            extra={"queue": self._queue, **ids_of(reply.answer.request).as_fields()},
        )
