"""Why audio is not used."""

from __future__ import annotations

from rpcb_models.wire import RefusedRequest, Status


class AudioError(RefusedRequest):
    """Audio that can't be used; `status` is 402 (unsupported), 403 (unparseable) or 408 (empty)."""


def empty(reason: str) -> AudioError:
    """Nothing to be heard in it: 408."""
    return AudioError(Status.EMPTY, reason)


def unsupported(reason: str) -> AudioError:
    return AudioError(Status.UNSUPPORTED_FORMAT, reason)


def unparseable(reason: str) -> AudioError:
    """Broken, cut short or beyond a limit: 403."""
    return AudioError(Status.UNPARSEABLE, reason)
