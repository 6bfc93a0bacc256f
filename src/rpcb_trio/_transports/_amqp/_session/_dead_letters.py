"""Requests that can't be answered, published to the dead-letter exchange with the reason in their headers.

The worker publishes them itself, for a broker that dead-letters can't be given a reason. What it can't
publish it rejects, and the broker's own dead-lettering applies, if the queue has any.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from rpcb_trio._messages import shown_address
from rpcb_trio._tracing import ids_of
from rpcb_trio._transports._amqp._data._consumption import Delivered
from rpcb_trio._transports._amqp._data._publications import (
    OPEN,
    Publication,
    PublishResult,
    PublishStatus,
)
from rpcb_trio._transports._amqp._session._outbox import UNDECIDED, Outbox
from rpcb_trio._transports._codec._tables import Table
from rpcb_trio._transports._headers import ROUTING_HEADERS, dead_letter_headers, one_line
from rpcb_trio._transports._topology import Topology
from rpcb_trio.errors import SessionLost

_log = logging.getLogger(__name__)

CONFIRM_SECONDS = 30.0
"""How long the broker may take to confirm dead letters. They have one place to go, so then it is the broker's
condition that they can't: the session ends, and their requests are requeued."""

NO_EXCHANGE = PublishResult(PublishStatus.NOT_SENT, "no dead_letter_exchange is set")


class DeadLetter(Publication, kw_only=True):
    """A request on its way to the dead-letter exchange."""

    request: Delivered
    reason: str


class DeadLetters:
    """The way to the dead-letter exchange of one queue."""

    def __init__(self, outbox: Outbox, topology: Topology) -> None:
        self._outbox = outbox
        self._topology = topology

    async def send(self, requests: Sequence[tuple[Delivered, str]]) -> set[int]:
        """Publish requests, each with its reason, and log each; returns the tags of those that arrived.

        Raises:
            SessionLost: there is no connection to be had to send on.
        """
        letters = [self._letter(request, reason) for request, reason in requests]
        if letters and self._topology.dead_letter_exchange is not None:
            await self._publish(letters)
        for letter in letters:
            self._log(letter)
        return {each.request.tag for each in letters if each.result.status is PublishStatus.CONFIRMED}

    async def _publish(self, letters: Sequence[DeadLetter]) -> None:
        """On a channel of their own: a broker that forbids the exchange closes it, and no reply is hurt."""
        try:
            channel = await self._outbox.open_side()
            await channel.send(letters)
            await self._outbox.results(channel, letters, CONFIRM_SECONDS)
        except SessionLost as lost:
            for letter in letters:
                letter.finish(PublishResult(PublishStatus.LOST, str(lost)))
        for letter in letters:
            if letter.result is OPEN:
                letter.give_up()
        undecided = [letter for letter in letters if letter.result.status in UNDECIDED]
        if undecided:
            await self._outbox.retry(undecided)
        self._outbox.end_session_if_lost(letters)
        if any(letter.result.status is PublishStatus.UNCONFIRMED for letter in letters):
            self._outbox.end_session(
                f"dead-letter exchange {self._topology.dead_letter_exchange!r}: the broker confirms nothing "
                "that is sent there; has the quorum queue behind it a majority?"
            )

    def _log(self, letter: DeadLetter) -> None:
        """One line on where a request went, and why it could not be answered."""
        went = f"went to the dead-letter exchange {self._topology.dead_letter_exchange!r}"
        if letter.result.status is not PublishStatus.CONFIRMED:
            went = f"was rejected, for the broker to dead-letter or to drop ({letter.result.why})"
        _log.warning(
            "queue %s: request %r of %s %s: %s",
            self._topology.queue,
            letter.request.correlation_id,
            shown_address(letter.request.reply_to),
            went,
            one_line(letter.reason),
            extra={"queue": self._topology.queue, **ids_of(letter.request).as_fields()},
        )

    def _letter(self, request: Delivered, reason: str) -> DeadLetter:
        """As it was, but for its expiration, its user_id (the broker takes our own only), and its route.

        Headers keep the types that they came in.
        """
        key = self._topology.dead_letter_routing_key
        own = dead_letter_headers(self._topology.queue, reason)
        headers = request.properties.headers
        return DeadLetter(
            body=request.body,
            exchange=self._topology.dead_letter_exchange or "",
            routing_key=request.delivery.routing_key if key is None else key,
            properties=msgspec.structs.replace(
                request.properties,
                headers=headers.amended(own, _is_kept) if isinstance(headers, Table) else own,
                expiration=None,
                user_id=None,
            ),
            result=NO_EXCHANGE if self._topology.dead_letter_exchange is None else OPEN,
            request=request,
            reason=reason,
        )


def _is_kept(name: str, _: bytes) -> bool:
    return name not in ROUTING_HEADERS
