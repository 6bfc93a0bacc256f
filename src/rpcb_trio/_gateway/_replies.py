"""From a service's reply to an answer in JSON and headers of HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec

from rpcb_trio._gateway._extensions import envelope_of
from rpcb_trio._gateway._items import MOST_ITEMS, holds_too_many
from rpcb_trio._gateway._problems import Problem, status_of_error
from rpcb_trio._gateway._routes import Route, Status
from rpcb_trio._messages import REASON_HEADER, Reply

MISSING = object()

UNREADABLE = (ValueError, OverflowError, RecursionError)
"""What the decoders raise; msgspec's own errors are ValueErrors."""

LONGEST_STATUS = 100
"""Characters or digits of the field that `Status` names."""

PASSED_ON = re.compile(r"rpcb-[a-z0-9._-]{1,60}", re.ASCII | re.IGNORECASE)
"""AMQP headers that become HTTP headers. Others are not passed on, nor are names that HTTP can't carry."""

MOST_HEADERS = 32
"""More than a worker sends; proxies refuse responses with too many."""

LONGEST_HEADER = 255
"""Bytes, as in AMQP."""

LONGEST_REASON = 500
"""Characters of an error's text; workers have the same bound."""

PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""Characters of a reason that stay as they are; others are percent-encoded, as in gRPC's `grpc-message`."""

Keep = Callable[[bytes, str], Awaitable[str]]
"""Keeps a file of a media type, and returns its URL."""


def read_answer(route: Route, reply: Reply, *, is_strict: bool) -> Any:
    """The answer in a reply, decoded: all of it, or the field that the route names.

    Args:
        route: whose service was called.
        reply: of that service.
        is_strict: whether an error reply is a failure even where the route's envelope passes such.

    Raises:
        Problem: it is an error reply, or can't be decoded.
    """
    if holds_too_many(reply.body, route.reply_coding):
        raise _bad_reply(f"the reply holds more than {MOST_ITEMS} values")
    try:
        whole = _decoded(route, reply.body)
    except UNREADABLE as error:
        if reply.error is not None:
            raise _failure(route, reply, reply.body.decode(errors="replace")) from error
        raise _bad_reply(f"the reply is no {route.reply_coding}: {error}") from error
    if _has_failed(route, reply, whole, is_strict=is_strict):
        raise _failure(route, reply, whole)
    if route.answer is None:
        return whole
    answer = find(whole, route.answer)
    if answer is MISSING:
        raise _bad_reply(f"the reply has no field {route.answer}")
    return answer


async def to_json(route: Route, answer: Any, keep: Keep) -> bytes:
    """The answer as JSON, with URLs beside, or in the place of, the bytes that they lead to.

    Raises:
        Problem: it can't be written as JSON, or there is no room for a file.
    """
    for source, target in route.urls.items():
        answer = await _with_url(route, answer, source.split("."), target, keep)
    return written(answer)


def written(answer: Any) -> bytes:
    """The answer as JSON; bytes in base64.

    Raises:
        Problem: it can't be written.
    """
    try:
        return msgspec.json.encode(answer)
    except (TypeError, *UNREADABLE) as error:
        raise _bad_reply(f"the reply can't be written as JSON: {error}") from error


def find(whole: Any, path: str) -> Any:
    """What a path of fields leads to, or `MISSING`."""
    for key in path.split("."):
        if not isinstance(whole, dict) or key not in whole:
            return MISSING
        whole = whole[key]
    return whole


def reply_headers(reply: Reply) -> dict[str, str]:
    """The reply's headers that HTTP's response has as well: `rpcb-batch-size` and so on."""
    passed = {
        name.lower(): plain_or(_as_text(value), "?")
        for name, value in reply.headers.items()
        if PASSED_ON.fullmatch(name) and isinstance(value, str | int | float)
    }
    headers = dict(list(passed.items())[:MOST_HEADERS])
    if reply.error_reason is not None:
        reason = reply.error_reason[:LONGEST_REASON].strip()
        headers[REASON_HEADER] = quote(reason, safe=PLAIN, errors="replace")
    return headers


def plain_or(text: str, otherwise: str) -> str:
    """The text, if a header of HTTP and of AMQP can carry it."""
    can = text.isascii() and text.isprintable() and text == text.strip() and len(text) <= LONGEST_HEADER
    return text if can else otherwise


def _as_text(value: str | float) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return "?"


def _decoded(route: Route, body: bytes) -> Any:
    if route.reply_coding == "bytes":
        return body
    if route.reply_coding == "msgpack":
        return msgspec.msgpack.decode(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
        # Python writes these, though JSON has no such numbers; msgspec writes null for MessagePack's, too.
        return json.loads(body, parse_constant=lambda _: None)


def _has_failed(route: Route, reply: Reply, whole: Any, *, is_strict: bool) -> bool:
    if route.status is not None:
        return find(whole, route.status.field) not in route.status.ok
    envelope = envelope_of(route)
    return reply.error is not None and (is_strict or envelope is None or not envelope.passes_error_replies)


def _failure(route: Route, reply: Reply, decoded: Any) -> Problem:
    code = reply.error or "service"
    status = _status(route.status, decoded) or (status_of_error(reply) if reply.error else None)
    detail = reply.error_reason or f"the service answered with an error ({code})"
    return Problem(
        status or HTTPStatus.INTERNAL_SERVER_ERROR,
        code,
        detail,
        field=_field_of(route, decoded),
        reply=decoded,
        headers=reply_headers(reply),
    )


def _field_of(route: Route, decoded: Any) -> str | None:
    """The form's field, or the item's, that a typed service refuses."""
    path = find(decoded, "error.path")
    if not isinstance(path, str):
        return None
    field = path.removeprefix("$").removeprefix(".")
    return field if field and (field in route.form or route.preset is not None) else None


def _status(status: Status | None, decoded: Any) -> int | None:
    """The HTTP status that the route names for what the reply holds."""
    value = find(decoded, status.field) if status is not None else None
    if status is None or not isinstance(value, str | int):
        return None
    is_short = len(value) <= LONGEST_STATUS if isinstance(value, str) else abs(value) < 10**LONGEST_STATUS
    return status.http.get(str(value)) if is_short else None


def _bad_reply(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", why)


async def _with_url(route: Route, answer: Any, path: list[str], target: str, keep: Keep) -> Any:
    """A copy of the answer: in the map that the path leads to, the URL comes first and the bytes last."""
    key, *rest = path
    if not isinstance(answer, dict) or key not in answer:
        return answer
    if rest:
        return {**answer, key: await _with_url(route, answer[key], rest, target, keep)}
    if not isinstance(answer[key], bytes):
        return answer
    url = await keep(answer[key], route.media_type)
    others = {name: value for name, value in answer.items() if name not in (key, target)}
    return {target: url, **others, **({key: answer[key]} if route.base64 else {})}
