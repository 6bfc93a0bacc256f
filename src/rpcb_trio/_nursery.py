"""A nursery for a context manager's own tasks; under asyncio too, for the client's sake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_serving_nursery() -> AsyncIterator[TaskGroup]:
    """Open a nursery whose tasks serve its body: an error of the body ends them, and leaves unwrapped.

    A plain nursery would hand a caller's own error back to it in an exception group.
    """
    ended_by: BaseException | None = None
    async with anyio.create_task_group() as nursery:
        try:
            yield nursery
        except anyio.get_cancelled_exc_class():  # its own scope knows what to do with it
            raise
        except BaseException as error:  # noqa: BLE001 - raised again below
            ended_by = error
            nursery.cancel_scope.cancel()
    if ended_by is not None:
        raise ended_by
