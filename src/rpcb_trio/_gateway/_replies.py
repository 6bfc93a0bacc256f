"""From a reply to what HTTP answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec

from rpcb_trio._gateway._problems import Problem, status_of_code
from rpcb_trio._gateway._routes import Route, Status
from rpcb_trio._messages import Reply

MISSING = object()

Keep = Callable[[bytes, str], Awaitable[str]]
"""Keeps a file of a media type, and returns its URL."""


def read_answer(route: Route, reply: Reply) -> Any:
    """The answer in a reply: what it is read as, or the field of it that counts.

    Raises:
        Problem: it is an error reply, or can't be read.
    """
    try:
        whole = _decoded(route, reply.body)
    except (msgspec.DecodeError, RecursionError) as error:
        if reply.error is not None:
            raise _failure(route, reply, _text(reply.body)) from error
        raise _unreadable(f"the reply is no {route.reply_coding}: {error}") from error
    if _has_failed(route, reply, whole):
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
    except (TypeError, ValueError, RecursionError) as error:
        raise _unreadable(f"the reply can't be written as JSON: {error}") from error


def find(whole: Any, path: str) -> Any:
    """What a path of fields leads to, or `MISSING`."""
    for key in path.split("."):
        if not isinstance(whole, dict) or key not in whole:
            return MISSING
        whole = whole[key]
    return whole


def _decoded(route: Route, body: bytes) -> Any:
    return msgspec.msgpack.decode(body) if route.reply_coding == "msgpack" else msgspec.json.decode(body)


def _has_failed(route: Route, reply: Reply, whole: Any) -> bool:
    if route.status is not None:
        return find(whole, route.status.field) not in route.status.ok
    # The ancestor knew no headers: what its services said of a failure went through as they said it.
    return reply.error is not None and route.shape == "plain"


def _failure(route: Route, reply: Reply, said: Any) -> Problem:
    code = reply.error or "service"
    status = _status(route.status, said) or status_of_code(code)
    return Problem(status, code, f"the service answered with an error ({code})", reply=said)


def _status(told: Status | None, said: Any) -> int | None:
    return None if told is None else told.http.get(str(find(said, told.field)))


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
    others = answer if route.base64 else {name: value for name, value in answer.items() if name != key}
    return {**others, target: await keep(answer[key], route.media_type)}
