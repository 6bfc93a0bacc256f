"""Requests that can't be answered, published to the dead-letter exchange with the reason in their headers.

The worker publishes them itself, for what a broker dead-letters can't be told why. What it can't publish it
rejects, and the broker's own dead-lettering applies, if the queue has any.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import trio

from rpcb_trio._errors import SessionLost
from rpcb_trio._messages import shown_address
from rpcb_trio._transports._amqp._delivered import Delivered
from rpcb_trio._transports._amqp._faithful import FaithfulProperties
from rpcb_trio._transports._amqp._loop import AioLoop
from rpcb_trio._transports._amqp._outbox import Outbox
from rpcb_trio._transports._amqp._parcel import Parcel
from rpcb_trio._transports._amqp._sender import Fate, Verdict
from rpcb_trio._transports._dead_letter import dead_letter_headers, one_line
from rpcb_trio._transports._protocol import Topology

_log = logging.getLogger(__name__)

DOUBTFUL = frozenset({Fate.LOST, Fate.BLAMED, Fate.NACKED})


class DeadLetters:
    """The way to the dead-letter exchange of one queue."""

    def __init__(self, loop: AioLoop, outbox: Outbox, topology: Topology) -> None:
        self._loop = loop
        self._outbox = outbox
        self._topology = topology
        self._sending = trio.Lock()

    async def send(self, letters: Sequence[tuple[Delivered, str]]) -> set[int]:
        """Publish requests, each with its reason, and tell of each; returns the tags of those that arrived.

        Raises:
            SessionLost: there is no connection to be had to send on.
        """
        if not letters:
            return set()
        verdicts = await self._verdicts(letters)
        if any(verdict.fate is Fate.LOST for verdict in verdicts):
            self._outbox.give_up()
        for (request, reason), verdict in zip(letters, verdicts, strict=True):
            self._tell(request, reason, verdict)
        told = zip(letters, verdicts, strict=True)
        return {request.tag for (request, _), verdict in told if verdict.fate is Fate.CONFIRMED}

    def _tell(self, request: Delivered, reason: str, verdict: Verdict) -> None:
        """One line on where a request went, and why it could not be answered."""
        went = f"went to the dead-letter exchange {self._topology.dead_letter_exchange!r}"
        if verdict.fate is not Fate.CONFIRMED:
            went = f"was rejected, for the broker to dead-letter or to drop ({verdict.why})"
        _log.warning(
            "queue %s: request %r of %s %s: %s",
            self._topology.queue,
            request.correlation_id,
            shown_address(request.reply_to),
            went,
            one_line(reason),
        )

    async def _verdicts(self, letters: Sequence[tuple[Delivered, str]]) -> list[Verdict]:
        if self._topology.dead_letter_exchange is None:
            return [Verdict(Fate.NOBODY, "no dead_letter_exchange is set")] * len(letters)
        message_ids = Counter(request.message.header.properties.message_id for request, _ in letters)
        parcels = [self._parcel(request, reason, message_ids) for request, reason in letters]
        verdicts = await self._send_at_once(parcels)
        doubtful = [n for n, verdict in enumerate(verdicts) if verdict.fate in DOUBTFUL]
        if doubtful:
            again = await self._outbox.insist([parcels[n] for n in doubtful], [verdicts[n] for n in doubtful])
            for n, verdict in zip(doubtful, again, strict=True):
                verdicts[n] = verdict
        return verdicts

    async def _send_at_once(self, parcels: Sequence[Parcel]) -> list[Verdict]:
        """On a channel of their own: a broker that forbids the exchange closes it, and no reply is hurt."""
        try:
            async with self._sending:
                sender = await self._outbox.side_channel()
                return await self._loop.call(sender.send_all, parcels)
        except SessionLost as lost:
            return [Verdict(Fate.LOST, str(lost))] * len(parcels)

    def _parcel(self, request: Delivered, reason: str, message_ids: Counter[str | None]) -> Parcel:
        """As it was, but for its expiration, its user_id (the broker refuses another's), and what routes it.

        aiormq tells the messages that come back by their message_id, so no two of a kind may be on their way.
        """
        own = request.message.header.properties
        key = self._topology.dead_letter_routing_key
        return Parcel(
            body=request.body,
            exchange=self._topology.dead_letter_exchange or "",
            routing_key=(request.message.routing_key or "") if key is None else key,
            properties=FaithfulProperties(
                content_type=own.content_type,
                content_encoding=own.content_encoding,
                headers=dead_letter_headers(request, self._topology.queue, reason),  # type: ignore[arg-type] # any that pamqp reads
                delivery_mode=own.delivery_mode,
                priority=own.priority,
                correlation_id=own.correlation_id,
                reply_to=own.reply_to,
                message_id=own.message_id if message_ids[own.message_id] == 1 else None,
                timestamp=own.timestamp,
                message_type=own.message_type,
                app_id=own.app_id,
            ),
        )
