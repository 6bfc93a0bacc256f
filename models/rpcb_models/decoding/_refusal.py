"""Why a recording is not read."""

from __future__ import annotations

from rpcb_models.decoding.protocol import EMPTY, UNPARSEABLE, UNSUPPORTED


class Refusal(Exception):
    """A recording that can't be used; `status` is one of the protocol's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def empty(reason: str) -> Refusal:
    """Nothing to be heard in it."""
    return Refusal(EMPTY, reason)


def unsupported(reason: str) -> Refusal:
    return Refusal(UNSUPPORTED, reason)


def unparseable(reason: str) -> Refusal:
    """Broken, cut short or beyond a limit."""
    return Refusal(UNPARSEABLE, reason)
