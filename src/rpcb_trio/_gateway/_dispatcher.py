"""From a form to an answer: one call over the gateway's client, within bounds of number and time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from rpcb_trio._client import ReplyStream, RpcClient
from rpcb_trio._gateway._forms import Value, to_body
from rpcb_trio._gateway._items import FEW
from rpcb_trio._gateway._options import GatewayOptions
from rpcb_trio._gateway._problems import Problem, busy, no_broker
from rpcb_trio._gateway._replies import read_answer
from rpcb_trio._gateway._routes import Route
from rpcb_trio._messages import Reply
from rpcb_trio.errors import CallError, SettingError

MAX_UNREAD = 4 * 2**20
"""Bytes of one reply's parts that wait for an HTTP client to take those before them."""
FORM_ROOM = 2**20
"""Bytes of a form besides what becomes of it."""


class Dispatcher:
    """All calls of one gateway, over one client."""

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.client: RpcClient | None = None
        """None before the start and after the end."""
        self.in_flight = 0
        """How many requests await a reply."""
        self.is_draining = False
        self.cut = 0
        """How many requests the end of a drain has cancelled."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would get to the broker."""
        return not self.is_draining and self.client is not None and self.client.is_connected

    @property
    def free(self) -> int:
        """How many more requests may await a reply."""
        return max(self.options.max_in_flight - self.in_flight, 0)

    def refuse_if_full(self) -> None:
        """Refuse a request before its upload, if `max_in_flight` are in flight.

        Raises:
            Problem: 503.
        """
        if self.in_flight >= self.options.max_in_flight:
            raise busy(f"{self.in_flight} requests are in flight")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a request as one in flight.

        Raises:
            Problem: 503, too many are.
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
        headers: Mapping[str, object],
        *,
        is_strict: bool = False,
        at_most: float = math.inf,
    ) -> tuple[Any, Reply]:
        """Call a route's service, and return the answer and the reply that it was in.

        Args:
            route: whose service to call.
            values: of the route's form.
            headers: travel with the request.
            is_strict: whether an error reply is a failure even where the route's envelope passes such.
            at_most: seconds, if the route's timeout is longer.

        Raises:
            Problem: there is no answer.
        """
        body = to_body(route, values)
        return await self.ask_with(route, body, headers, is_strict=is_strict, at_most=at_most)

    async def ask_with(
        self,
        route: Route,
        body: bytes,
        headers: Mapping[str, object],
        *,
        is_strict: bool = False,
        at_most: float = math.inf,
    ) -> tuple[Any, Reply]:
        """As `ask`, with a body that has been made.

        Raises:
            Problem: there is no answer.
        """
        reply = await self.call(route, body, headers, content_type=route.content_type, at_most=at_most)
        return await read_aside(route, reply, is_strict=is_strict), reply

    async def call(
        self,
        route: Route,
        body: bytes,
        headers: Mapping[str, object],
        *,
        content_type: str,
        at_most: float = math.inf,
    ) -> Reply:
        """Send a body to a route's service, and return the reply as it is.

        Raises:
            Problem: there is none within the route's timeout, or `at_most` seconds.
        """
        client = self._connected()
        try:
            return await client.call(
                body,
                queue=route.queue,
                exchange=route.exchange,
                routing_key=route.routing_key,
                timeout=min(self.timeout_of(route), at_most),
                headers=headers,
                priority=route.priority,
                content_type=content_type,
            )
        except (CallError, SettingError) as error:
            raise Problem.of_call(error) from error

    def stream(
        self, route: Route, body: bytes, headers: Mapping[str, object], *, content_type: str
    ) -> ReplyStream:
        """As `call`, for a reply in parts; its errors come with the parts.

        Raises:
            Problem: there is no connection to the broker, or the request makes no sense.
        """
        client = self._connected()
        try:
            return client.stream(
                body,
                queue=route.queue,
                exchange=route.exchange,
                routing_key=route.routing_key,
                timeout=self.timeout_of(route),
                headers=headers,
                priority=route.priority,
                content_type=content_type,
                max_unread=MAX_UNREAD,
            )
        except SettingError as error:
            raise Problem.of_call(error) from error

    def _connected(self) -> RpcClient:
        if self.client is None or not self.client.is_connected:
            raise no_broker()
        return self.client

    def largest_upload(self, route: Route) -> int | None:
        """Bytes of the largest request that can become a message for a route; None for any.

        A form holds boundaries and names besides. Composite routes and presets make several messages of one
        request.
        """
        most = None if self.client is None else self.client.largest_request
        if most is None or route.parts or route.preset is not None:
            return None
        return most + FORM_ROOM if route.form else most

    def timeout_of(self, route: Route) -> float:
        """How long a route's reply is awaited, in seconds."""
        return self.options.timeout if route.timeout is None else route.timeout


async def read_aside(route: Route, reply: Reply, *, is_strict: bool) -> Any:
    """As `read_answer`; in a thread where the reply is large."""
    read = partial(read_answer, route, reply, is_strict=is_strict)
    return await anyio.to_thread.run_sync(read) if len(reply.body) > FEW else read()
