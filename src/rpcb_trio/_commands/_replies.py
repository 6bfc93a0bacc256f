"""Replies as commands print them: for people on a terminal; anywhere else as they are, to the last byte."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from cyclopts import Group
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from rpcb_trio._messages import Reply
from rpcb_trio._shown import CONTROL, shown
from rpcb_trio._typed import is_msgpack
from rpcb_trio.errors import SettingError

REPLY = Group("Reply", sort_key=-1)

OF_ANY_TYPE = "application/octet-stream"
"""What most services leave their replies at, whatever they are."""


def print_reply(
    reply: Reply, output: Path | None = None, *, as_json: bool = False, apart: bool = False
) -> None:
    """Print the body of a reply, or write it into a file.

    Args:
        reply: one of a service; an error reply too.
        output: a file for the body as it is; a further part is written behind those before it.
        as_json: whether MessagePack is shown as JSON, though nobody looks.
        apart: whether another one may follow, so that a line end is wanted.

    Raises:
        SettingError: the file can't be written, or the body is no MessagePack though that is asked for.
    """
    may_be_msgpack = reply.content_type == OF_ANY_TYPE or is_msgpack(reply.content_type)
    body = _as_json(reply) if as_json and may_be_msgpack else reply.body
    if output is not None:
        _write(body, output, "ab" if reply.part else "wb")
    elif sys.stdout.isatty():
        _show(reply)
    else:
        sys.stdout.buffer.write(body)
        if apart and not body.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()


def _as_json(reply: Reply) -> bytes:
    text = _of_msgpack(reply.body)
    if text is not None:
        return text.encode() + b"\n"
    if reply.error is None:
        raise SettingError("the reply is not msgpack; use neither --msgpack nor --field")
    return reply.body  # error replies are often plain text


def _write(body: bytes, output: Path, mode: str) -> None:
    try:
        with output.open(mode) as file:
            file.write(body)
    except OSError as error:
        raise SettingError(f"--output: {output} can't be written: {error.strerror}") from error


def _show(reply: Reply) -> None:
    """Show it to people. A plain text that only says the error is left out: a line on stderr says it."""
    if _says_only_the_error(reply):
        return
    console = Console()
    text = _structured(reply)
    if text is not None:
        console.print(JSONHighlighter()(Text(_harmless(text))), soft_wrap=True)
    elif (text := _of_text(reply.body)) is not None:
        console.print(Text(_harmless(text.removesuffix("\n"))), soft_wrap=True)
    else:
        kind = "" if reply.content_type == OF_ANY_TYPE else f" of {shown(reply.content_type)}"
        console.print(Text(f"{len(reply.body):,} bytes{kind}; --output FILE keeps them"), soft_wrap=True)


def _structured(reply: Reply) -> str | None:
    """JSON or MessagePack, by its content type or, where that says nothing, by its looks."""
    body, media_type = reply.body, reply.content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return _of_json(body)
    if is_msgpack(media_type):
        return _of_msgpack(body, _readable)
    if media_type != OF_ANY_TYPE:
        return None
    if body[:1] in (b"{", b"["):  # any number is JSON, too, and most are no such reply
        return _of_json(body)
    return _of_msgpack(body, _readable) if body[:1] > b"\x7f" and _of_text(body) is None else None


def _says_only_the_error(reply: Reply) -> bool:
    if reply.error is None:
        return False
    return shown(_of_text(reply.body) or "") == shown(f"{reply.error}: {reply.error_reason}")


def _harmless(text: str) -> str:
    """The text without what a terminal would take for a command."""
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else repr(found[0])[1:-1], text)


def _of_json(body: bytes) -> str | None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        msgspec.json.decode(body)
        return msgspec.json.format(body.decode())
    return None


def _of_text(body: bytes) -> str | None:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if "\0" not in text:
            return text
    return None


def _of_msgpack(body: bytes, shown_as: Callable[[object], object] = lambda value: value) -> str | None:
    """MessagePack as JSON; bytes in base64, unless they are shown otherwise."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
        return msgspec.json.format(msgspec.json.encode(shown_as(msgspec.msgpack.decode(body)))).decode()
    return None


def _readable(value: object) -> object:
    match value:
        case bytes() as data:
            return f"<{len(data):,} bytes>"
        case msgspec.msgpack.Ext(code=code, data=data):
            return f"<{len(bytes(data)):,} bytes of extension {code}>"
        case Mapping():
            return {str(_readable(key)): _readable(each) for key, each in value.items()}
        case str():
            return value
        case Sequence():
            return [_readable(each) for each in value]
        case _:
            return value
