"""The way from a form to an answer: who calls, how many at once, and for how long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread

from rpcb_trio._client import RpcClient
from rpcb_trio._errors import CallError, SettingError
from rpcb_trio._gateway._bodies import Value, to_body
from rpcb_trio._gateway._items import FEW
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import read_answer
from rpcb_trio._gateway._routes import Route
from rpcb_trio._gateway._unsent import Unsent
from rpcb_trio._messages import Reply

REQUEST_ID_HEADER = "x-request-id"
"""Of HTTP and of AMQP."""


class Front:
    """All calls of one gateway, over one client."""

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.unsent = Unsent(options.max_unsent)
        self.client: RpcClient | None = None
        """None before the start and after the end."""
        self.in_flight = 0
        """How many requests await a reply."""
        self.is_draining = False
        self.cut = 0
        """How many requests the end of a drain has cut."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would get to the broker."""
        return not self.is_draining and self.client is not None and self.client.is_connected

    def refuse_if_full(self) -> None:
        """Refuse a request at once, before its upload, if it is one too many.

        Raises:
            Problem: 503.
        """
        if self.in_flight >= self.options.max_in_flight:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{self.in_flight} requests are in flight; come again"
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those in flight.

        Raises:
            Problem: 503, there is none.
        """
        self.refuse_if_full()
        self.in_flight += 1
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self.cut += 1
            raise
        finally:
            self.in_flight -= 1

    async def ask(
        self,
        route: Route,
        values: Mapping[str, Value],
        request_id: str,
        *,
        is_strict: bool = False,
        at_most: float = math.inf,
    ) -> tuple[Any, Reply]:
        """Call a route's service, and return the answer and the reply that it was in.

        With `is_strict` an error reply is a problem even where an envelope would hand it on.

        Raises:
            Problem: there is no answer.
        """
        body = to_body(route, values)
        reply = await self.call(route, body, request_id, content_type=content_type_of(route), at_most=at_most)
        read = partial(read_answer, route, reply, is_strict=is_strict)
        return (await anyio.to_thread.run_sync(read) if len(reply.body) > FEW else read()), reply

    async def call(
        self, route: Route, body: bytes, request_id: str, *, content_type: str, at_most: float = math.inf
    ) -> Reply:
        """Send a body to a route's service, and return the reply as it is.

        It is awaited for the route's timeout, but no more than `at_most` seconds.

        Raises:
            Problem: there is none.
        """
        if self.client is None or not self.client.is_connected:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-broker", "the broker is away; come again")
        try:
            return await self.client.call(
                body,
                queue=route.queue,
                exchange=route.exchange,
                routing_key=route.routing_key,
                timeout=min(self.timeout_of(route), at_most),
                headers={REQUEST_ID_HEADER: request_id},
                priority=route.priority,
                content_type=content_type,
            )
        except (CallError, SettingError) as error:
            raise Problem.of_call(error) from error

    def timeout_of(self, route: Route) -> float:
        """How long a route's reply is awaited, in seconds."""
        return self.options.timeout if route.timeout is None else route.timeout


def content_type_of(route: Route) -> str:
    """Of a request that is made of a form; the ancestor's msgpack has no other than plain bytes'."""
    return "application/json" if route.body_coding == "json" else "application/octet-stream"
