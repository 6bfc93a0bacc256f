"""Requests that can't be answered, published to the dead-letter exchange with the reason in their headers.

The worker publishes them itself, for what a broker dead-letters can't be told why. What it can't publish it
rejects, and the broker's own dead-lettering applies, if the queue has any.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from rpcb_trio._errors import SessionLost
from rpcb_trio._messages import shown_address
from rpcb_trio._transports._amqp._data import OPEN, Message, PublishResult, PublishStatus
from rpcb_trio._transports._amqp._delivered import Delivered
from rpcb_trio._transports._amqp._outbox import UNCONFIRMED, Outbox
from rpcb_trio._transports._amqp._tables import Table
from rpcb_trio._transports._dead_letter import ROUTING_HEADERS, dead_letter_headers, one_line
from rpcb_trio._transports._protocol import Topology

_log = logging.getLogger(__name__)

DOUBTFUL = frozenset({PublishStatus.LOST, PublishStatus.BLAMED, PublishStatus.NACKED})

CONFIRM_SECONDS = 30.0
"""How long the broker may take to confirm dead letters. They have one place to go, so then it is the broker's
condition that they can't: the session ends, and their requests go back."""


class DeadLetters:
    """The way to the dead-letter exchange of one queue."""

    def __init__(self, outbox: Outbox, topology: Topology) -> None:
        self._outbox = outbox
        self._topology = topology

    async def send(self, letters: Sequence[tuple[Delivered, str]]) -> set[int]:
        """Publish requests, each with its reason, and tell of each; returns the tags of those that arrived.

        Raises:
            SessionLost: there is no connection to be had to send on.
        """
        if not letters:
            return set()
        results = await self._results(letters)
        self._outbox.give_up(results)
        if any(result.status is PublishStatus.UNCONFIRMED for result in results):
            self._outbox.refuse(
                f"dead-letter exchange {self._topology.dead_letter_exchange!r}: the broker confirms nothing "
                "that is sent there; has the quorum queue behind it a majority?"
            )
        for (request, reason), result in zip(letters, results, strict=True):
            self._tell(request, reason, result)
        told = zip(letters, results, strict=True)
        return {request.tag for (request, _), result in told if result.status is PublishStatus.CONFIRMED}

    def _tell(self, request: Delivered, reason: str, result: PublishResult) -> None:
        """One line on where a request went, and why it could not be answered."""
        went = f"went to the dead-letter exchange {self._topology.dead_letter_exchange!r}"
        if result.status is not PublishStatus.CONFIRMED:
            went = f"was rejected, for the broker to dead-letter or to drop ({result.why})"
        _log.warning(
            "queue %s: request %r of %s %s: %s",
            self._topology.queue,
            request.correlation_id,
            shown_address(request.reply_to),
            went,
            one_line(reason),
        )

    async def _results(self, letters: Sequence[tuple[Delivered, str]]) -> list[PublishResult]:
        if self._topology.dead_letter_exchange is None:
            return [PublishResult(PublishStatus.NOBODY, "no dead_letter_exchange is set")] * len(letters)
        messages = [self._message(request, reason) for request, reason in letters]
        results = await self._send_at_once(messages)
        doubtful = [n for n, result in enumerate(results) if result.status in DOUBTFUL]
        if doubtful:
            again = await self._outbox.insist([messages[n] for n in doubtful], [results[n] for n in doubtful])
            for n, result in zip(doubtful, again, strict=True):
                results[n] = result
        return results

    async def _send_at_once(self, messages: Sequence[Message]) -> list[PublishResult]:
        """On a channel of their own: a broker that forbids the exchange closes it, and no reply is hurt."""
        try:
            publisher = await self._outbox.side_channel()
            results = await self._outbox.results(await publisher.send(messages), CONFIRM_SECONDS)
        except SessionLost as lost:
            return [PublishResult(PublishStatus.LOST, str(lost))] * len(messages)
        return [UNCONFIRMED if result is OPEN else result for result in results]

    def _message(self, request: Delivered, reason: str) -> Message:
        """As it was, but for its expiration, its user_id (the broker takes our own only), and its route.

        Headers keep the types that they came in.
        """
        key = self._topology.dead_letter_routing_key
        own = dead_letter_headers(self._topology.queue, reason)
        headers = request.properties.headers
        return Message(
            body=request.body,
            exchange=self._topology.dead_letter_exchange or "",
            routing_key=request.delivery.routing_key if key is None else key,
            properties=msgspec.structs.replace(
                request.properties,
                headers=headers.amended(own, _is_kept) if isinstance(headers, Table) else own,
                expiration=None,
                user_id=None,
            ),
        )


def _is_kept(name: str, _: bytes) -> bool:
    return name not in ROUTING_HEADERS
