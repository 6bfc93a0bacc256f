"""A nursery for a context manager's own tasks; under asyncio too, for the client's sake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_serving_nursery() -> AsyncIterator[TaskGroup]:
    """Open a nursery whose tasks serve its body.

    An error of the body ends the tasks, and an error of a task cancels the body. Either leaves as it is: a
    plain nursery would hand a caller its own error back in an exception group.

    Raises:
        BaseExceptionGroup: there are several errors.
    """
    raised: BaseException | None = None
    try:
        async with anyio.create_task_group() as nursery:
            try:
                yield nursery
            except anyio.get_cancelled_exc_class():  # its own scope knows what to do with it
                raise
            except BaseException as error:  # noqa: BLE001 - raised again below
                raised = error
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raised = _only(group) if raised is None else BaseExceptionGroup(group.message, [raised, group])
    if raised is not None:
        context = raised.__context__
        try:
            raise raised
        finally:  # its context is its own; Python has put there what the body was ended by
            raised.__context__ = context
            del raised, context


def _only(error: BaseException) -> BaseException:
    """The one error in a nest of groups; the outermost group of several where there is more than one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return error
