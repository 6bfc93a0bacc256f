"""The command `call`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Group

from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import REQUEST, RequestFlags
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._broker import transport
from rpcb_trio._commands._settings._destination import Exchange, RoutingKey, route
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import FLAT, ConfigPath, QueueSettings
from rpcb_trio._commands._settings._values import split_pair
from rpcb_trio._messages import RemoteError, Reply
from rpcb_trio._transports import Transport
from rpcb_trio.errors import SettingError

REPLY = Group("Reply", sort_key=-1)


@FLAT
@dataclass(frozen=True, kw_only=True)
class CallFlags:
    """Its headers, and what becomes of its reply."""

    header: Annotated[tuple[str, ...], flag(REQUEST, metavar="NAME=VALUE", shown=False)] = ()
    """AMQP header of the request. Repeatable."""
    output: Annotated[Path | None, flag(REPLY, metavar="FILE")] = None
    """Write the reply's body into this file."""
    stream: Annotated[bool, flag(REPLY)] = False
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

    An error reply is printed too, and ends the command with 7.
    """
    body = given.read(text, "TEXT")
    if body is None:
        raise SettingError("give the request as one of TEXT, --body and --field")
    headers = dict(split_pair("--header", each) for each in flags.header)
    send = partial(_send, transport(settings), body, headers=headers, timeout=given.timeout)
    where = route(settings.queue, exchange, routing_key)
    if flags.stream:
        show = partial(_show, flags, is_msgpack=flags.msgpack or bool(given.field))
        stream = partial(_stream, transport(settings), body, show, headers=headers, timeout=given.timeout)
        trio.run(partial(stream, **where))
        return ExitCode.DONE
    reply = trio.run(partial(send, **where))
    _write(_readable(reply) if flags.msgpack or given.field else reply.body, flags.output)
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


def _show(flags: CallFlags, reply: Reply, *, is_msgpack: bool) -> None:
    body = _readable(reply) if is_msgpack else reply.body
    if flags.output is None:
        _write(body if body.endswith(b"\n") else body + b"\n", None)
        return
    with _writing(flags.output), flags.output.open("ab" if reply.part else "wb") as file:
        file.write(body)


def _readable(reply: Reply) -> bytes:
    try:
        return msgspec.json.format(msgspec.json.encode(msgspec.msgpack.decode(reply.body))) + b"\n"
    except msgspec.DecodeError as error:
        if reply.error is not None:
            return reply.body  # error replies are often plain text
        raise SettingError(
            f"the reply is not msgpack ({error}); use neither --msgpack nor --field"
        ) from error


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingError(f"--output: {output} can't be written: {error.strerror}") from error


def _write(body: bytes, output: Path | None) -> None:
    if output is not None:
        with _writing(output):
            output.write_bytes(body)
        return
    sys.stdout.buffer.write(body)
    if sys.stdout.isatty() and not body.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()
