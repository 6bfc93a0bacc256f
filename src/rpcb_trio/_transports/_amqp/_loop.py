"""asyncio under trio: a loop for one session, and the one door through which all its calls and errors pass.

Clients run under asyncio too, without trio-asyncio and any of this but the door: see `_native`.

Each session has a loop of its own, so that leaving the session also ends every asyncio task it ever started.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio

from rpcb_trio._errors import BrokerError, SessionLost
from rpcb_trio._transports._amqp._boundary import describe, ends_connection
from rpcb_trio._transports._amqp._loss import Loss
from rpcb_trio._transports._amqp._unreadable import bear_unreadable

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BURST = 128
"""How many ready asyncio callbacks run in one go before trio's other tasks have their turn."""


class Unwound(Exception):
    """Holds aiormq's `CancelledError`: its way to say that a connection has closed; nobody was cancelled."""

    def __init__(self, cancelled: asyncio.CancelledError) -> None:
        self.cancelled = cancelled


class AioLoop:
    """An asyncio loop on trio's scheduler."""

    def __init__(self, loop: Any, loss: Loss) -> None:
        self._loop = loop
        self._loss = loss

    async def call(
        self,
        function: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        on_error: Callable[[BaseException], BrokerError] | None = None,
    ) -> T:
        """Run an asyncio function and wait for it; what aiormq, asyncio and the system raise becomes ours.

        Raises:
            SessionLost: the broker is gone, or the loop has ended.
            BrokerError: what `on_error` made of the error instead.
        """
        if not self.is_open:
            raise SessionLost("the session is closed")
        ended_by: BaseException
        try:
            return await self._run(_awaited(function, *args))
        except Unwound as unwound:
            ended_by = unwound.cancelled
        except Exception as exc:
            if not ends_connection(exc):
                raise
            ended_by = exc
        raise (on_error or self._lost)(ended_by) from ended_by

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return bool(self._loop.is_running())

    async def open_socket(self, host: str, port: int) -> socket.socket | None:
        """Connect; None where asyncio is to do that itself.

        asyncio's own name look-up can't be interrupted under trio; a dead name server would hold up a close.

        Raises:
            OSError: nobody is there.
        """
        stream = await trio.open_tcp_stream(host, port)
        # trio's socket gives its file descriptor away: from here on it is asyncio's.
        return socket.socket(fileno=stream.socket.detach())

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            result: T = await self._loop.run_aio_coroutine(coroutine)
        except asyncio.CancelledError as exc:  # who is cancelled here gets a trio.Cancelled
            raise Unwound(exc) from exc
        return result

    def _lost(self, exc: BaseException) -> SessionLost:
        return SessionLost(self._loss.reason or describe(exc))


async def _awaited(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    bear_unreadable()
    return await function(*args)


@asynccontextmanager
async def open_loop(loss: Loss) -> AsyncIterator[AioLoop]:
    """Open an asyncio loop; what is still running on it at the end is cancelled.

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
                _run_in_bursts(loop)
                yield AioLoop(loop, loss)
            except BaseException as exc:  # noqa: BLE001 - raised again below, once the loop is closed
                failure = exc
    except BaseExceptionGroup as group:
        _raise_what_matters(group)
        broken = SessionLost(loss.reason or describe(group))
        broken.__cause__ = group
    await _raise_again(failure, broken)


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


def _run_in_bursts(loop: asyncio.AbstractEventLoop) -> None:
    """Run the asyncio callbacks that are ready in one go.

    trio-asyncio sends each of them through a memory channel and runs one in each turn of trio's scheduler,
    which took two thirds of the processor time of a message. Here they wait in a queue of asyncio's kind, and
    only what empties that queue goes the long way. Timers and the rest of the loop are as they were.
    """
    ready: deque[asyncio.Handle] = deque()
    send_through_trio = loop.call_soon
    is_on_its_way = False

    def call_soon(
        callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        nonlocal is_on_its_way
        if not is_on_its_way:
            send_through_trio(run)  # raises once the loop is closed
            is_on_its_way = True
        handle = asyncio.Handle(callback, args, loop, context)
        ready.append(handle)
        return handle

    # Ctrl-C in a callback would end the loop under the calls that wait for it; it goes to the main task.
    @trio.lowlevel.enable_ki_protection
    def run() -> None:
        nonlocal is_on_its_way
        for _ in range(BURST):
            if not ready:
                is_on_its_way = False
                return
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as asyncio's own loops do
        send_through_trio(run)

    loop.call_soon = call_soon  # type: ignore[method-assign,assignment]
