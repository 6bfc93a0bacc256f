"""One request over HTTP that is many messages: each of its rows is one, so that workers batch them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._endpoints import unless_hung_up
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import reply_headers
from rpcb_trio._gateway._routes import Route
from rpcb_trio._messages import Reply

MOST_ROWS = 2048
"""Of one request, as OpenAI has it."""

T = TypeVar("T")
Write = Callable[[int], bytes]
"""Makes of a row's number its body."""
Read = Callable[[int, Any], T]
"""Makes of a row's number and its answer what is wanted of it."""


async def ask_each(
    dispatcher: Dispatcher,
    route: Route,
    write: Write,
    *,
    count: int,
    read: Read[T],
    request: Request,
    headers: Mapping[str, object],
    is_large: bool = False,
) -> tuple[list[T], dict[str, str]]:
    """Ask for each row, and return what was read of the answers, in order, and what their headers share.

    Half of the free places are taken at most, so that others get some, too; further rows wait for those
    before them.

    Args:
        dispatcher: through which they are asked.
        route: whose service to ask.
        write: makes a row's body, when its turn comes.
        count: how many there are.
        read: reads a row's answer.
        request: over HTTP; its end is that of all rows.
        headers: travel with each row.
        is_large: whether to write a body takes long enough for a thread.

    Raises:
        Problem: a row has no answer; the others are given up then.
        HungUp: the client has closed the connection.
    """
    work = _Rows(dispatcher, route, write, count, read, headers, is_large=is_large)
    with ExitStack() as places:
        at_once = 1 + min(count - 1, dispatcher.free // 2)
        for _ in range(at_once):
            places.enter_context(dispatcher.place())
        await unless_hung_up(request, partial(work.run, at_once))
    return [work.found[index] for index in range(count)], _shared([*work.headers.values()])


class _Rows:
    def __init__(  # noqa: PLR0917 - all that a row needs
        self,
        dispatcher: Dispatcher,
        route: Route,
        write: Write,
        count: int,
        read: Read[Any],
        headers: Mapping[str, object],
        *,
        is_large: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._route = route
        self._write = write
        self._rows = iter(range(count))
        self._read = read
        self._travelling = headers
        self._is_large = is_large
        self._deadline = anyio.current_time() + dispatcher.timeout_of(route)
        self._problem: Problem | None = None
        self.found: dict[int, Any] = {}
        self.headers: dict[int, dict[str, str]] = {}

    async def run(self, at_once: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(self._ask_in_turn, tasks.cancel_scope)
        if self._problem is not None:
            raise self._problem

    async def _ask_in_turn(self, others: anyio.CancelScope) -> None:
        try:
            for index in self._rows:
                answer, reply = await self._ask(index)
                self.found[index] = self._read(index, answer)
                self.headers[index] = reply_headers(reply)
        except Problem as problem:
            self._problem = self._problem or problem
            others.cancel()

    async def _ask(self, index: int) -> tuple[Any, Reply]:
        body = await anyio.to_thread.run_sync(self._write, index) if self._is_large else self._write(index)
        left = self._deadline - anyio.current_time()
        if left <= 0:
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, "timeout", "no time was left for all of its rows")
        return await self._dispatcher.ask_with(self._route, body, self._travelling, at_most=left)


def _shared(headers: list[dict[str, str]]) -> dict[str, str]:
    """The headers that all replies have alike; those of a row's own batch are none."""
    first, *others = headers
    return {name: value for name, value in first.items() if all(each.get(name) == value for each in others)}
