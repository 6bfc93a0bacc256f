"""`open_client`: makes a client, and has it connected for as long as it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rpcb_trio._bounds import COUNT
from rpcb_trio._claims import CallerClaims
from rpcb_trio._client._client import RpcClient
from rpcb_trio._nursery import open_serving_nursery
from rpcb_trio._transports import Transport, as_transport, server_of


@asynccontextmanager
async def open_client(
    transport: Transport | str,
    *,
    max_message_size: int | None = None,
    claims: str | None = None,
    cancel: bool = False,
) -> AsyncIterator[RpcClient]:
    """Connect an `RpcClient` to an AMQP URL or a transport, under trio or asyncio; leaving it closes it.

    Under asyncio the client runs on the program's own loop; leave it in the task that entered it. A
    `MemoryBroker` runs under trio only.

    A connection that is lost later is rebuilt with backoff: calls under way end with `CallInterrupted`, and
    new ones wait for the connection, within their timeout. Calls that other tasks have under way when the
    client is left end with `CallInterrupted` too.

    Args:
        transport: an AMQP URL, or a transport.
        max_message_size: bytes of the largest body that is sent over the broker; a larger one fails with
            `RequestTooBig` before it is sent. None for the broker's own limit, as far as that is known: by
            default 128 MiB up to RabbitMQ 3.13 and 16 MiB from 4.0 on.
        claims: a store for larger ones, of requests and replies: a directory, or a URL for fsspec. The
            worker's `claims` must name it in the same words.
        cancel: whether workers are told of each call that is given up before its reply is here: it took
            longer than its timeout, it was cancelled, or the client was left. Workers listen where their
            topology has `cancel`.

    Raises:
        TopologyMismatch: with `cancel`, the exchange for that can't be had, or may not be written to.
        LoginRefused: the broker refused the user, the password, the virtual host or the certificate.
        SessionLost: the broker can't be reached.
        SettingError: the URL is wrong, or the size, or the store can't be used.
    """
    COUNT.check("max_message_size", max_message_size)
    store = None if claims is None else CallerClaims(claims)
    client = RpcClient(max_message_size=max_message_size, claims=store, cancel=cancel)
    transport = as_transport(transport)
    if store is not None:
        await store.open()
    client._server = server_of(transport)  # noqa: SLF001 - one room
    async with open_serving_nursery() as nursery:
        await nursery.start(client._keep_connected, transport)  # noqa: SLF001 - one room
        try:
            yield client
        finally:
            client._close()  # noqa: SLF001 - one room
        nursery.cancel_scope.cancel()
