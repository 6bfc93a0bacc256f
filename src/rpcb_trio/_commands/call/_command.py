"""The command `call`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio

from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import REQUEST, RequestFlags
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._replies import REPLY, print_reply
from rpcb_trio._commands._settings._broker import transport
from rpcb_trio._commands._settings._destination import Exchange, RoutingKey, route
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import FLAT, ConfigPath, QueueSettings
from rpcb_trio._commands._settings._values import split_pair
from rpcb_trio._messages import RemoteError, Reply
from rpcb_trio._transports import Transport
from rpcb_trio.errors import SettingError


@FLAT
@dataclass(frozen=True, kw_only=True)
class CallFlags:
    """Its headers, and what becomes of its reply."""

    header: Annotated[tuple[str, ...], flag(REQUEST, metavar="NAME=VALUE", shown=False)] = ()
    """AMQP header of the request. Repeatable."""
    output: Annotated[Path | None, flag(REPLY, metavar="FILE")] = None
    """Write the reply's body into this file."""
    stream: Annotated[bool, flag(REPLY, shown=False)] = False
    """Take the reply in parts, and print each as it comes."""
    msgpack: Annotated[bool, flag(REPLY, shown=False)] = False
    """Show a msgpack reply as JSON; --field implies it."""


def call(
    text: Annotated[str | None, flag(REQUEST, "The request's body, as UTF-8.")] = None,
    *,
    given: RequestFlags = RequestFlags(),
    exchange: Exchange = "",
    routing_key: RoutingKey = None,
    flags: CallFlags = CallFlags(),
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    settings: QueueSettings = QueueSettings(),
) -> int:
    """Send one request, and print the body of its reply.

    On a terminal it is shown for people; elsewhere it is printed as it is, to the last byte. An error reply
    is printed too, and ends the command with 7.
    """
    body = given.read(text, "TEXT")
    if body is None:
        raise SettingError("give the request as one of TEXT, --body, --json and --field")
    headers = dict(split_pair("--header", each) for each in flags.header)
    how = {
        "headers": headers,
        "content_type": body.content_type,
        "timeout": given.timeout,
        **route(settings.queue, exchange, routing_key),
    }
    show = partial(
        print_reply, output=flags.output, as_json=flags.msgpack or bool(given.field), apart=flags.stream
    )
    if flags.stream:
        trio.run(partial(_stream, transport(settings), body.content, show, **how))
        return ExitCode.DONE
    reply = trio.run(partial(_send, transport(settings), body.content, **how))
    show(reply)
    reply.raise_for_error()
    return ExitCode.DONE


async def _send(way: Transport, body: bytes, **how: Any) -> Reply:
    async with open_client(way) as client:
        return await client.call(body, **how)


async def _stream(way: Transport, body: bytes, show: Callable[[Reply], None], **how: Any) -> None:
    async with open_client(way) as client, client.stream(body, **how) as parts:
        try:
            async for part in parts:
                show(part)
        except RemoteError as error:
            show(error.reply)
            raise
