"""Whose turn it is: by priority, with ageing so that nobody starves."""

from __future__ import annotations

from collections.abc import Sequence

from rpcb_trio._messages import Pending


def in_turn(pending: Sequence[Pending], ageing: float) -> Sequence[Pending]:
    """Sort `pending`, which is oldest first, by turn.

    One level of AMQP priority (0 to 9, or as high as the queue goes) is worth `ageing` seconds of waiting:
    a request is overtaken only by those that come within `ageing` seconds for each level they are above it.
    """
    if all(each.request.priority == pending[0].request.priority for each in pending):
        return pending
    return sorted(pending, key=lambda each: each.request.arrived - each.request.priority * ageing)
