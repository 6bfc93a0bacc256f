"""asyncio for aiormq: on trio's scheduler by trio-asyncio, or the loop that an asyncio program runs on.

Under trio each session has a loop of its own, so that leaving the session also ends every asyncio task it
ever started. What crosses here is rare: connecting, declaring, closing. Messages never do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import sniffio
import trio

from rpcb_trio._errors import SessionLost
from rpcb_trio._transports._amqp._boundary import describe
from rpcb_trio._transports._amqp._loss import Loss

_log = logging.getLogger(__name__)

T = TypeVar("T")

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until a host's next address is tried beside one that does not answer; trio's own (RFC 8305)."""


class Unwound(Exception):
    """Stands for aiormq's `CancelledError`: its way to say that a connection closed; nobody was cancelled."""


class AioLoop(Protocol):
    """A way to run asyncio code."""

    @property
    def asyncio(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        ...

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an asyncio function and wait for it.

        Raises what it raises, but for `Unwound` in the place of a `CancelledError` that nobody asked for.
        """
        ...

    async def open_socket(self, host: str, port: int) -> socket.socket:
        """Connect to the first of a host's addresses that answers.

        Raises:
            OSError: none does.
        """
        ...


class BridgedLoop:
    """An asyncio loop on trio's scheduler."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    @property
    def asyncio(self) -> asyncio.AbstractEventLoop:
        """See `AioLoop`."""
        loop: asyncio.AbstractEventLoop = self._loop
        return loop

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """See `AioLoop`.

        Raises:
            SessionLost: the loop has ended.
        """
        if not self._loop.is_running():
            raise SessionLost("the session is closed")
        try:
            result: T = await self._loop.run_aio_coroutine(_awaited(function))
        except asyncio.CancelledError as exc:  # who is cancelled here gets a trio.Cancelled
            raise Unwound(exc) from exc
        return result

    async def open_socket(self, host: str, port: int) -> socket.socket:
        """See `AioLoop`.

        By trio, for asyncio's name look-up can't be interrupted under trio: a dead name server would hold up
        a close.
        """
        stream = await trio.open_tcp_stream(host, port)
        return socket.socket(fileno=stream.socket.detach())


class NativeLoop:
    """The asyncio loop that runs already."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def asyncio(self) -> asyncio.AbstractEventLoop:
        """See `AioLoop`."""
        return self._loop

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """See `AioLoop`."""
        # A task of its own, which nobody has asked to cancel yet: a program's may bear old marks of it.
        coroutine = _unwinding(_awaited(function))
        try:
            return await asyncio.create_task(coroutine)
        finally:
            coroutine.close()  # a task that was cancelled before its first step has not even begun it

    async def open_socket(self, host: str, port: int) -> socket.socket:
        """See `AioLoop`."""
        where: dict[str, Any] = {"host": host, "port": port}
        if isinstance(self._loop, asyncio.BaseEventLoop):  # uvloop tries one after the other
            where["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
        transport, _ = await self._loop.create_connection(asyncio.Protocol, **where)
        try:
            # Our own from here on. A broker waits for the client's first word, so nothing was read yet.
            return socket.socket(fileno=socket.dup(transport.get_extra_info("socket").fileno()))
        finally:
            transport.abort()


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


async def _unwinding(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unwound(exc) from exc
    finally:
        coroutine.close()


def open_any_loop(loss: Loss) -> AbstractAsyncContextManager[AioLoop]:
    """A loop for who runs under trio or under asyncio."""
    return _open_native_loop() if sniffio.current_async_library() == "asyncio" else open_loop(loss)


@asynccontextmanager
async def _open_native_loop() -> AsyncIterator[AioLoop]:
    yield NativeLoop()


@asynccontextmanager
async def open_loop(loss: Loss) -> AsyncIterator[AioLoop]:
    """Open an asyncio loop under trio; what is still running on it at the end is cancelled.

    What the body raises passes through as it is, not wrapped in the groups of the loop's nurseries.

    Raises:
        SessionLost: the loop itself broke down.
    """
    from rpcb_trio._transports._amqp._bridge import trio_asyncio  # noqa: PLC0415 - asyncio's programs need none

    failure: BaseException | None = None
    broken: SessionLost | None = None
    try:
        async with trio_asyncio.open_loop() as loop:
            try:
                # The default handler ends the loop for any error that nobody has asked for.
                loop.set_exception_handler(_log_unasked)
                _protect_from_interrupts(loop)
                yield BridgedLoop(loop)
            except BaseException as exc:  # noqa: BLE001 - raised again below, once the loop is closed
                failure = exc
    except BaseExceptionGroup as group:
        _raise_what_matters(group)
        broken = SessionLost(loss.reason or describe(group))
        broken.__cause__ = group
    await _raise_again(failure, broken)


def _protect_from_interrupts(loop: Any) -> None:
    """Ctrl-C in a callback would end the loop under the calls that wait for it; it goes to the main task."""
    run_next = loop._main_loop_one  # noqa: SLF001 - there is no other way

    @trio.lowlevel.enable_ki_protection
    async def run_next_protected(**how: Any) -> None:
        await run_next(**how)

    loop._main_loop_one = run_next_protected  # noqa: SLF001 - likewise
    loop.call_soon(lambda: None)  # what waits for a callback already gets this one, and is protected then


def _raise_what_matters(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise what no library may swallow; the rest are the last words of cancelled tasks."""
    interrupts, rest = group.split((KeyboardInterrupt, SystemExit))
    if interrupts is not None:
        raise interrupts
    _log.debug("while an asyncio loop closed: %r", rest)


async def _raise_again(failure: BaseException | None, broken: SessionLost | None) -> None:
    if failure is None:
        return
    own = _without_cancelled(failure)
    if broken is None or own is failure:
        raise failure
    # Cancelled from outside, or by the loop's own nursery because the loop broke down?
    await trio.lowlevel.checkpoint_if_cancelled()
    raise own or broken


def _without_cancelled(exc: BaseException) -> BaseException | None:
    if not isinstance(exc, BaseExceptionGroup):
        return None if isinstance(exc, trio.Cancelled) else exc
    return exc if exc.subgroup(trio.Cancelled) is None else exc.split(trio.Cancelled)[1]


def _log_unasked(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.debug("asyncio: %s", context.get("message"), exc_info=context.get("exception"))
