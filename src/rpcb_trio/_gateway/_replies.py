"""From a reply to what HTTP answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec

from rpcb_trio._gateway._items import MOST_ITEMS, holds_too_many
from rpcb_trio._gateway._problems import Problem, status_of_error
from rpcb_trio._gateway._reply_headers import reply_headers
from rpcb_trio._gateway._routes import Route, Status
from rpcb_trio._messages import Reply

MISSING = object()

UNREADABLE = (ValueError, OverflowError, RecursionError)
"""What the decoders raise; msgspec's own errors are such."""

LONGEST_STATUS = 100
"""Letters or digits of what a reply holds in the place of a status."""

NO_NUMBERS = (b"NaN", b"Infinity")
"""What Python writes into JSON, which has no such numbers."""

Keep = Callable[[bytes, str], Awaitable[str]]
"""Keeps a file of a media type, and returns its URL."""


def read_answer(route: Route, reply: Reply, *, is_strict: bool) -> Any:
    """The answer in a reply: what it is read as, or the field of it that counts.

    Args:
        route: that was called.
        reply: of its service.
        is_strict: whether an error reply is a failure even where the route's clients know of none.

    Raises:
        Problem: it is an error reply, or can't be read.
    """
    if holds_too_many(reply.body, route.reply_coding):
        raise _unreadable(f"the reply holds more than {MOST_ITEMS} values")
    try:
        whole = _decoded(route, reply.body)
    except UNREADABLE as error:
        if reply.error is not None:
            raise _failure(route, reply, _text(reply.body)) from error
        raise _unreadable(f"the reply is no {route.reply_coding}: {error}") from error
    if _has_failed(route, reply, whole, is_strict=is_strict):
        raise _failure(route, reply, whole)
    if route.answer is None:
        return whole
    answer = find(whole, route.answer)
    if answer is MISSING:
        raise _unreadable(f"the reply has no field {route.answer}")
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
    """JSON; bytes in base64.

    Raises:
        Problem: there is none for it.
    """
    try:
        return msgspec.json.encode(answer)
    except (TypeError, *UNREADABLE) as error:
        raise _unreadable(f"the reply can't be written as JSON: {error}") from error


def find(whole: Any, path: str) -> Any:
    """What a path of fields leads to, or `MISSING`."""
    for key in path.split("."):
        if not isinstance(whole, dict) or key not in whole:
            return MISSING
        whole = whole[key]
    return whole


def _decoded(route: Route, body: bytes) -> Any:
    if route.reply_coding == "msgpack":
        return msgspec.msgpack.decode(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        if not any(each in body for each in NO_NUMBERS):
            raise
        return json.loads(body, parse_constant=_null)  # as MessagePack's go into JSON


def _null(_: str) -> None:
    pass


def _has_failed(route: Route, reply: Reply, whole: Any, *, is_strict: bool) -> bool:
    if route.status is not None:
        return find(whole, route.status.field) not in route.status.ok
    # The ancestor knew no headers: what its services said of a failure went through as they said it.
    return reply.error is not None and (is_strict or route.shape == "plain")


def _failure(route: Route, reply: Reply, said: Any) -> Problem:
    code = reply.error or "service"
    status = _status(route.status, said) or (status_of_error(reply) if reply.error else None)
    detail = reply.error_reason or f"the service answered with an error ({code})"
    return Problem(
        status or HTTPStatus.INTERNAL_SERVER_ERROR, code, detail, reply=said, headers=reply_headers(reply)
    )


def _status(told: Status | None, said: Any) -> int | None:
    if told is None:
        return None
    value = find(said, told.field)
    return told.http.get(str(value)) if isinstance(value, str | int) and _is_short(value) else None


def _is_short(value: str | int) -> bool:
    return len(value) <= LONGEST_STATUS if isinstance(value, str) else abs(value) < 10**LONGEST_STATUS


def _unreadable(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", why)


def _text(body: bytes) -> str:
    return body.decode(errors="replace")


async def _with_url(route: Route, answer: Any, path: list[str], target: str, keep: Keep) -> Any:
    """A copy of the answer, as far as it differs."""
    key, *rest = path
    if not isinstance(answer, dict) or key not in answer:
        return answer
    if rest:
        return {**answer, key: await _with_url(route, answer[key], rest, target, keep)}
    if not isinstance(answer[key], bytes):
        return answer
    url = await keep(answer[key], route.media_type)
    others = {name: value for name, value in answer.items() if name not in (key, target)}
    # The URL is the first and the bytes are the last, as rabbit-rpc-client writes them.
    return {target: url, **others, **({key: answer[key]} if route.base64 else {})}
