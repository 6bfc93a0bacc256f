"""A call under way, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from rpcb_trio._messages import Reply
from rpcb_trio.errors import BrokerError, CallInterrupted, RpcbError

DEPOSITED = Reply(body=b"")
"""What a call returns whose reply goes to an inbox, once the broker has its request."""


def as_calls_have_it(error: RpcbError) -> RpcbError:
    """The error that ends a call: a lost connection has interrupted it."""
    if isinstance(error, BrokerError):
        return CallInterrupted(f"the connection was lost: {error}")
    return error


def _tell_nobody() -> None:
    pass


class Call:
    """One call under way, and how it ends."""

    def __init__(self) -> None:
        self._over = anyio.Event()
        self._ending: Reply | RpcbError | None = None
        self.cancel: Callable[[], None] = _tell_nobody
        """Tells workers that it was given up."""

    @property
    def is_answered(self) -> bool:
        """Whether a reply came; one that comes with the broker's refusal proves the delivery."""
        return isinstance(self._ending, Reply)

    def finish(self, reply: Reply) -> None:
        self._ending = reply
        self._over.set()

    def confirm(self) -> None:
        """The broker has the request, and its reply goes elsewhere."""
        self.finish(DEPOSITED)

    def fail(self, error: RpcbError) -> None:
        if self._ending is None:  # a reply that came before proves the delivery
            self._ending = as_calls_have_it(error)
            self._over.set()

    def give_up(self) -> None:
        """Await no reply any more; workers learn of it where there could still be one."""
        if self._ending is None:
            self.cancel()

    async def reply(self) -> Reply:
        await self._over.wait()
        if isinstance(self._ending, Reply):
            return self._ending
        assert self._ending is not None  # noqa: S101 - for the type checker
        raise self._ending
