"""What goes wrong, as HTTP tells it (RFC 9457), and whose fault it is."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rpcb_trio._errors import (
    CallError,
    CallInterrupted,
    PublishRefused,
    ReplyTimeout,
    RequestTooBig,
    SettingError,
    Unroutable,
)
from rpcb_trio._messages import Reply
from rpcb_trio._shown import shortened

STATUS_OF_KIND = {
    "request": HTTPStatus.BAD_REQUEST,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "service": HTTPStatus.INTERNAL_SERVER_ERROR,
}

STATUS_OF_CODE = {
    "decode": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too-big": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "expired": HTTPStatus.GATEWAY_TIMEOUT,
    "too-late": HTTPStatus.GATEWAY_TIMEOUT,
}
"""Where HTTP has a word of its own for what the kind says; the fault stays whose it is."""

FIRST_OF_SERVERS = HTTPStatus.INTERNAL_SERVER_ERROR

CALL_ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    Unroutable: (HTTPStatus.BAD_GATEWAY, "unroutable"),
    PublishRefused: (HTTPStatus.SERVICE_UNAVAILABLE, "refused"),
    RequestTooBig: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-big"),
    ReplyTimeout: (HTTPStatus.GATEWAY_TIMEOUT, "timeout"),
    CallInterrupted: (HTTPStatus.SERVICE_UNAVAILABLE, "interrupted"),
    CallError: (HTTPStatus.BAD_GATEWAY, "call"),
    SettingError: (HTTPStatus.INTERNAL_SERVER_ERROR, "setting"),
}
"""From how a call ends without a reply; the nearest class counts."""

NO_HEADERS: Mapping[str, str] = {}

LONGEST_DETAIL = 1000
"""Letters of what is told of an error; some quote what they are about."""


class Problem(Exception):
    """A request ends without its answer.

    Args:
        status: of HTTP.
        code: one word for it: a reply's `rpcb-error`, or one of the gateway's own.
        detail: a sentence.
        field: the form's field that is wrong.
        reply: what the service itself said, where it did.
        headers: what else goes into the answer's headers.
        message: what an envelope says of it, where it has a text of its own for that.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        reply: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        message: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.code = code
        self.detail = shortened(detail, LONGEST_DETAIL)
        self.field = field
        self.reply = reply
        self.headers = headers
        self.message = message

    def as_json(self, **more: object) -> bytes:
        """The problem, with what else is to be said; what the service said only if that is JSON."""
        told: dict[str, object] = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "error": self.code,
            "detail": self.detail,
            **({} if self.field is None else {"field": self.field}),
            **more,
        }
        for each in ({} if self.reply is None else {"reply": self.reply}, {}):
            try:
                return msgspec.json.encode(told | each)
            except (TypeError, ValueError, OverflowError, RecursionError):
                pass  # it quotes what is no JSON
        return msgspec.json.encode({"title": told["title"], "status": self.status, "error": "?", **more})

    @classmethod
    def of_call(cls, error: CallError | SettingError) -> Problem:
        """How a call ended without a reply."""
        status, code = next(CALL_ERRORS[kind] for kind in type(error).__mro__ if kind in CALL_ERRORS)
        return cls(status, code, str(error))


def status_of_error(reply: Reply) -> HTTPStatus:
    """The HTTP status of an error reply, by its kind; older workers name none."""
    code, kind = reply.error or "", reply.error_kind
    status = STATUS_OF_CODE.get(code)
    if status is not None and (kind is None or (kind == "request") == (status < FIRST_OF_SERVERS)):
        return status
    if kind is None:
        kind = "request" if code == "request" else "service"
    return STATUS_OF_KIND.get(kind, HTTPStatus.INTERNAL_SERVER_ERROR)
