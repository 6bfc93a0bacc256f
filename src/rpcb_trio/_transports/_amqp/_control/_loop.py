"""A loop of asyncio's for aiormq: on trio's scheduler by trio-asyncio, or the one of an asyncio program.

Under trio each session has a loop of its own, so that leaving the session also ends every asyncio task it
ever started. What crosses here is rare: connecting, declaring, closing. Messages never do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, TypeAlias, TypeVar

import sniffio
import trio

from rpcb_trio._transports._amqp._control._errors import describe
from rpcb_trio._transports._amqp._session_end import SessionEnd
from rpcb_trio.errors import SessionLost

_log = logging.getLogger(__name__)

T = TypeVar("T")

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until a host's next address is tried beside one that does not answer; trio's own (RFC 8305)."""


class Unwound(Exception):
    """Stands for aiormq's `CancelledError`: a connection has closed, and no task of ours was cancelled."""


class BridgedLoop:
    """An asyncio loop on trio's scheduler. Its coroutines are trio's."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    @property
    def asyncio(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._loop
        return loop

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an asyncio function and wait for it.

        Raises what it raises, but for `Unwound` in the place of a `CancelledError` that is aiormq's own.

        Raises:
            SessionLost: the loop has ended.
        """
        if not self._loop.is_running():
            raise SessionLost("the session is closed")
        try:
            result: T = await self._loop.run_aio_coroutine(_awaited(function))
        except asyncio.CancelledError as exc:  # a cancellation of ours would be a trio.Cancelled
            raise Unwound(exc) from exc
        return result

    async def open_socket(self, host: str, port: int) -> socket.socket:
        """Connect to the first of a host's addresses that answers.

        By trio, for asyncio's name look-up can't be interrupted under trio: a dead name server would hold up
        a close.

        Raises:
            OSError: none does.
        """
        stream = await trio.open_tcp_stream(host, port)
        return socket.socket(fileno=stream.socket.detach())


class NativeLoop:
    """The asyncio loop that runs already, as an asyncio program has it. Its coroutines are asyncio's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def asyncio(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        # A task of its own, which was never cancelled: a program's own may still bear marks of it.
        coroutine = _unwinding(_awaited(function))
        try:
            return await asyncio.create_task(coroutine)
        finally:
            coroutine.close()  # a task that was cancelled before its first step has not even begun it

    async def open_socket(self, host: str, port: int) -> socket.socket:
        where: dict[str, Any] = {"host": host, "port": port}
        if isinstance(self._loop, asyncio.BaseEventLoop):  # uvloop tries one after the other
            where["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
        transport, _ = await self._loop.create_connection(asyncio.Protocol, **where)
        try:
            # Our own from here on. A broker waits for the client's first word, so nothing was read yet.
            return socket.socket(fileno=socket.dup(transport.get_extra_info("socket").fileno()))
        finally:
            transport.abort()


AioLoop: TypeAlias = BridgedLoop | NativeLoop


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


def open_any_loop(end: SessionEnd) -> AbstractAsyncContextManager[AioLoop]:
    """A loop for a program that runs under trio or under asyncio."""
    return _open_native_loop() if sniffio.current_async_library() == "asyncio" else open_loop(end)


@asynccontextmanager
async def _open_native_loop() -> AsyncIterator[AioLoop]:
    yield NativeLoop()


@asynccontextmanager
async def open_loop(end: SessionEnd) -> AsyncIterator[AioLoop]:
    """Open an asyncio loop under trio; what is still running on it at the end is cancelled.

    What the body raises passes through as it is, not wrapped in the groups of the loop's nurseries.

    Raises:
        SessionLost: the loop itself broke down.
    """
    failure: BaseException | None = None
    broken: SessionLost | None = None
    try:
        async with import_trio_asyncio().open_loop() as loop:
            try:
                # The default handler ends the loop for any error that was never retrieved.
                loop.set_exception_handler(_log_unasked)
                _protect_from_interrupts(loop)
                yield BridgedLoop(loop)
            except BaseException as exc:  # noqa: BLE001 - raised again below, once the loop is closed
                failure = exc
    except BaseExceptionGroup as group:
        _raise_what_matters(group)
        broken = SessionLost(end.reason or describe(group))
        broken.__cause__ = group
    await _raise_again(failure, broken)


@cache
def import_trio_asyncio() -> Any:
    """trio-asyncio, without what its import does to the rest of the process.

    Once imported, it gives each asyncio program of this process (outside trio) one of its own, slower loops,
    except in a thread that has set a policy; so all threads get the policy that was there before as set.
    """
    with warnings.catch_warnings():
        # Python 3.12 and 3.13 complain of a class that it derives from, and that is not used here.
        warnings.simplefilter("ignore", DeprecationWarning)
        import trio_asyncio  # type: ignore[import-untyped] # noqa: PLC0415 - it has no types; asyncio's programs need none

    policies = getattr(trio_asyncio._loop, "_FakedPolicy", None)  # noqa: SLF001 - there is no other way
    before = getattr(trio_asyncio._loop, "_original_policy", None)  # noqa: SLF001 - it is kept nowhere else
    if policies is not None and before is not None:
        policies.policy = before
    return trio_asyncio


def _protect_from_interrupts(loop: Any) -> None:
    """Ctrl-C in a callback would end the loop under the calls that wait for it; it goes to the main task."""
    run_next = loop._main_loop_one  # noqa: SLF001 - there is no other way

    @trio.lowlevel.enable_ki_protection
    async def run_next_protected(**how: Any) -> None:
        await run_next(**how)

    loop._main_loop_one = run_next_protected  # noqa: SLF001 - likewise
    loop.call_soon(lambda: None)  # what waits for a callback already gets this one, and is protected then


def _raise_what_matters(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise what no library may swallow; the rest is what cancelled tasks raised at their end."""
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
