"""The client for programs that are not async: a thread of its own runs trio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from anyio.from_thread import BlockingPortal, start_blocking_portal

from rpcb_trio._client import RpcClient, open_client
from rpcb_trio._messages import NO_HEADERS, Reply
from rpcb_trio._transports import Transport


class BlockingRpcClient:
    """As `RpcClient`, for ordinary threads. Made by `open_blocking_client`; many threads may call at once."""

    def __init__(self, portal: BlockingPortal, client: RpcClient) -> None:
        self._portal = portal
        self._client = client

    @property
    def late_replies(self) -> int:
        """How many replies came when nobody awaited them any more; they are dropped."""
        return self._client.late_replies

    def call(
        self,
        body: bytes,
        *,
        queue: str | None = None,
        exchange: str = "",
        routing_key: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, object] = NO_HEADERS,
        priority: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> Reply:
        """Send one request, block until its reply is here, and return it; see `RpcClient.call`."""
        return self._portal.call(
            partial(
                self._client.call,
                body,
                queue=queue,
                exchange=exchange,
                routing_key=routing_key,
                timeout=timeout,
                headers=headers,
                priority=priority,
                content_type=content_type,
            )
        )


@contextmanager
def open_blocking_client(transport: Transport | str) -> Iterator[BlockingRpcClient]:
    """Connect a `BlockingRpcClient` to an AMQP URL or a transport; leaving it ends it and its thread.

    Calls that other threads have under way then end with `CallInterrupted`.

    Raises:
        LoginRefused, SessionLost, SettingError: as `open_client`.
    """
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_client(transport)) as client,
    ):
        yield BlockingRpcClient(portal, client)
