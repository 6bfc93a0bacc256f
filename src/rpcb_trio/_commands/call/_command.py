"""The command `call`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Group, Parameter

from rpcb_trio._bounds import POSITIVE
from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import encode_fields, read_body
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._settings._broker import transport
from rpcb_trio._commands._settings._destination import Exchange, RoutingKey, route
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import ConfigPath, QueueSettings
from rpcb_trio._commands._settings._values import SECONDS, split_pair
from rpcb_trio._errors import SettingError
from rpcb_trio._messages import Reply
from rpcb_trio._transports import Transport

REQUEST = Group("Request", sort_key=-3)
REPLY = Group("Reply", sort_key=-1)


def call(
    text: Annotated[str | None, flag(REQUEST, "The request's body, as UTF-8.", shown=False)] = None,
    *,
    body: Annotated[
        Path | None,
        flag(
            REQUEST,
            "Or: a file that holds the body; - for stdin.",
            "FILE",
            shown=False,
            allow_leading_hyphen=True,
        ),
    ] = None,
    field: Annotated[
        tuple[str, ...],
        flag(
            REQUEST,
            "Or: the body is a msgpack map of these; NAME=@FILE takes a file's bytes. Repeatable; implies "
            "--msgpack.",
            "NAME=VALUE",
            shown=False,
        ),
    ] = (),
    header: Annotated[
        tuple[str, ...],
        flag(REQUEST, "AMQP header of the request. Repeatable.", "NAME=VALUE", shown=False),
    ] = (),
    exchange: Exchange = "",
    routing_key: RoutingKey = None,
    timeout: Annotated[
        float, flag(REPLY, "How long to wait for the reply.", unit=SECONDS, bounds=POSITIVE)
    ] = 30.0,
    output: Annotated[
        Path | None, flag(REPLY, "Write the reply's body into this file.", "FILE", shown=False)
    ] = None,
    msgpack: Annotated[bool, flag(REPLY, "Show a msgpack reply as JSON.", shown=False)] = False,
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    settings: Annotated[QueueSettings, Parameter(name="*")] = QueueSettings(),
) -> int:
    """Send one request, and print the body of its reply.

    An error reply is printed too, and ends the command with 7.
    """
    sent = _body(text, body, field)
    headers = dict(split_pair("--header", each) for each in header)
    send = partial(_send, transport(settings), sent, headers=headers, timeout=timeout)
    reply = trio.run(partial(send, **route(settings.queue, exchange, routing_key)))
    _write(_readable(reply) if msgpack or field else reply.body, output)
    reply.raise_for_error()
    return ExitCode.DONE


async def _send(way: Transport, body: bytes, **how: Any) -> Reply:
    async with open_client(way) as client:
        return await client.call(body, **how)


def _readable(reply: Reply) -> bytes:
    try:
        return msgspec.json.format(msgspec.json.encode(msgspec.msgpack.decode(reply.body))) + b"\n"
    except msgspec.DecodeError as error:
        if reply.error is not None:
            return reply.body  # error replies are often plain text
        raise SettingError(
            f"the reply is not msgpack ({error}); use neither --msgpack nor --field"
        ) from error


def _write(body: bytes, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_bytes(body)
        except OSError as error:
            raise SettingError(f"--output: {output} can't be written: {error.strerror}") from error
        return
    sys.stdout.buffer.write(body)
    if sys.stdout.isatty() and not body.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()


def _body(text: str | None, file: Path | None, fields: Sequence[str]) -> bytes:
    if (text is not None) + (file is not None) + bool(fields) != 1:
        raise SettingError("give the request as one of TEXT, --body and --field")
    if text is not None:
        return text.encode()
    if file is not None:
        return sys.stdin.buffer.read() if str(file) == "-" else read_body("--body", file)
    return encode_fields(split_pair("--field", each) for each in fields)
