"""A connection for events: kept, and opened again with backoff when it is lost."""

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
    open_one: Callable[[], AbstractAsyncContextManager[S]],
    use: Callable[[S], Awaitable[None]],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Use one connection after the other, until `use` returns; started once the first one is open.

    Raises:
        BrokerError: the first one can't be opened. Of what is lost later, the log tells once.
    """
    waits, has_started, is_told = Backoff(), False, False
    while True:
        lost: BrokerError | None = None
        opened = math.inf
        try:
            async with open_one() as connection:
                if not has_started:
                    has_started = True
                    task_status.started()
                opened, is_told = anyio.current_time(), False
                await use(connection)
                return
        except* BrokerError as group:
            lost = first_leaf(group)
        if not has_started:
            raise lost
        if not is_told:
            is_told = True
            log.warning("events: the connection is lost (%s); it is opened again as soon as it can be", lost)
        await anyio.sleep(waits.after(anyio.current_time() - opened))
