"""One service at work: its hooks, the executors of its `infer`, and for what it is needed yet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from rpcb_trio._executors import Closable, Executor
from rpcb_trio._pipeline._decoding import Decoding
from rpcb_trio._pipeline._encoding import Encoding
from rpcb_trio._service import BoundService
from rpcb_trio.errors import RpcbError, WarmUpFailed, first_leaf

log = logging.getLogger("rpcb_trio")

CLOSE_TIMEOUT = 30.0
"""Seconds for a service's `close`, and for what still runs there of a session that was lost."""


class Uses:
    """Counts for what a service is needed yet: the batches and requests that it has begun with."""

    def __init__(self) -> None:
        self._count = 0
        self._over = trio.Event()

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._over.set()

    def clear(self) -> None:
        """End all: their session has ended, and what was begun with it."""
        self._count = 0
        self._over.set()

    async def over(self) -> None:
        """Wait until there is none."""
        while self._count:
            self._over = trio.Event()
            await self._over.wait()


@dataclass(frozen=True, kw_only=True, eq=False)
class Generation:
    """One service at work."""

    service: BoundService
    decoding: Decoding
    encoding: Encoding
    executors: Sequence[Executor]
    uses: Uses = field(default_factory=Uses)

    @property
    def number(self) -> int:
        """Of the service, among those that the worker has had: 0, 1, ..."""
        return self.decoding.generation

    @property
    def version(self) -> str | None:
        return self.encoding.version

    @property
    def streams(self) -> bool:
        """Whether the service can yield its replies in parts."""
        return self.service.stream_infer is not None

    def closes_with(self, service: BoundService) -> bool:
        """Whether that is of the very object behind this one, which its `close` would take away from both."""
        return service.close is not None and service.close == self.service.close

    def following(
        self, service: BoundService, version: str | None, executors: Sequence[Executor]
    ) -> Generation:
        """That of the service which takes the place of this one."""
        return Generation(
            service=service,
            decoding=self.decoding.following(service),
            encoding=self.encoding.following(service, version),
            executors=executors,
        )

    async def warm_up(self, most: float) -> None:
        """Warm all executors up; the first that fails ends this, with its error alone.

        Raises:
            RpcbError: as the executors, or it took longer than `most` seconds.
        """
        failed: RpcbError | None = None
        try:
            with trio.move_on_after(most) as scope:
                async with trio.open_nursery() as nursery:
                    for executor in self.executors:
                        nursery.start_soon(executor.warm_up)
        except* RpcbError as group:
            failed = first_leaf(group)
        if failed is not None:
            raise failed
        if scope.cancelled_caught:
            raise WarmUpFailed(
                f"warming up took longer than {most:g} s (warm_up_timeout); raise it if it may"
            )

    async def close(self) -> None:
        """Free what its executors have, though this is cancelled; what goes wrong is a line in the log."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for executor in self.executors:
                    if isinstance(executor, Closable):
                        nursery.start_soon(_close, executor)


async def _close(executor: Closable) -> None:
    with trio.move_on_after(CLOSE_TIMEOUT) as scope:
        try:
            await executor.aclose()
        except Exception as error:  # noqa: BLE001 - of the service's `close`; it costs memory, and no request
            log.warning("a model that was swapped may keep its memory: %s", error)
    if scope.cancelled_caught:
        log.warning("a model that was swapped keeps its memory: it is not closed after %g s", CLOSE_TIMEOUT)
