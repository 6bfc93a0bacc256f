"""Calls under asyncio: straight on the loop that the program itself runs on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import sniffio

from rpcb_trio._transports._amqp._loop import AioLoop, Unwound, open_loop
from rpcb_trio._transports._amqp._loss import Loss

T = TypeVar("T")


class NativeLoop(AioLoop):
    """The loop that runs already."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(asyncio.get_running_loop(), loss)

    async def open_socket(self, _host: str, _port: int) -> socket.socket | None:
        """Leave it to asyncio (see `AioLoop`)."""
        return None

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        # A task of its own, which nobody has asked to cancel yet: a program's may bear old marks of it.
        try:
            return await asyncio.create_task(_unwinding(coroutine))
        finally:
            coroutine.close()  # a task that was cancelled before its first step has not even begun it


async def _unwinding(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unwound(exc) from exc


@asynccontextmanager
async def open_native_loop(loss: Loss) -> AsyncIterator[AioLoop]:
    """As `open_loop`, where asyncio runs the program."""
    yield NativeLoop(loss)


def open_any_loop(loss: Loss) -> AbstractAsyncContextManager[AioLoop]:
    """A loop for who runs under trio or under asyncio."""
    return open_native_loop(loss) if sniffio.current_async_library() == "asyncio" else open_loop(loss)
