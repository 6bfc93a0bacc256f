"""Errors of aiormq, asyncio and the system, in words for one line of a log."""

from __future__ import annotations

import asyncio

from aiormq.exceptions import AMQPError, ChannelInvalidStateError

NOT_OURS = (AMQPError, ChannelInvalidStateError, OSError, EOFError, asyncio.CancelledError)
"""What asyncio code may raise when a connection ends. `TimeoutError` is an `OSError`, and meant to be here."""


def describe(exc: BaseException) -> str:
    """What the broker or the system said, else what the error's class says."""
    if isinstance(exc, asyncio.CancelledError):
        return "the connection has closed"
    texts = [arg for arg in exc.args if isinstance(arg, str) and arg]
    return texts[-1] if texts else type(exc).__name__
