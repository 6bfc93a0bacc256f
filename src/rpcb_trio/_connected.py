"""A connection that is kept: opened again with backoff when it is lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus

from rpcb_trio._backoff import Backoff
from rpcb_trio._errors import BrokerError, first_leaf

log = logging.getLogger("rpcb_trio")

S = TypeVar("S")


async def stay_connected(
    whose: str,
    open_one: Callable[[], AbstractAsyncContextManager[S]],
    use: Callable[[S], Awaitable[None]],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Use one connection after the other, until `use` returns; started once the first one is in use.

    The log tells once that it is lost, and when it is back; `whose` begins these lines.

    Raises:
        BrokerError: the first one can't be opened.
    """
    waits, has_started = Backoff(), False
    lost_at: float | None = None
    while True:
        lost: BrokerError | None = None
        opened = math.inf
        try:
            async with open_one() as connection:
                opened = anyio.current_time()
                if not has_started:
                    has_started = True
                    task_status.started()
                if lost_at is not None:
                    log.info("%s: connected again after %.1f s", whose, opened - lost_at)
                    lost_at = None
                await use(connection)
                return
        except* BrokerError as group:
            lost = first_leaf(group)
        if not has_started:
            raise lost
        if lost_at is None:
            lost_at = anyio.current_time()
            log.warning(
                "%s: the connection is lost (%s); it is opened again as soon as it can be", whose, lost
            )
        await anyio.sleep(waits.after(anyio.current_time() - opened))
