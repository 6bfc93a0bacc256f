"""What goes wrong, as HTTP tells it (RFC 9457), and whose fault it is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from rpcb_trio._errors import (
    CallError,
    CallInterrupted,
    Refused,
    ReplyTimeout,
    SettingError,
    Unroutable,
)

STATUS_OF_CODE = {
    "decode": HTTPStatus.UNPROCESSABLE_ENTITY,
    "request": HTTPStatus.BAD_REQUEST,
    "no-reply-to": HTTPStatus.BAD_REQUEST,
    "too-big": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "expired": HTTPStatus.GATEWAY_TIMEOUT,
    "too-late": HTTPStatus.GATEWAY_TIMEOUT,
}
"""From a reply's `rpcb-error`; all others are the service's fault."""

CALL_ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    Unroutable: (HTTPStatus.BAD_GATEWAY, "unroutable"),
    Refused: (HTTPStatus.SERVICE_UNAVAILABLE, "refused"),
    ReplyTimeout: (HTTPStatus.GATEWAY_TIMEOUT, "timeout"),
    CallInterrupted: (HTTPStatus.SERVICE_UNAVAILABLE, "interrupted"),
    SettingError: (HTTPStatus.INTERNAL_SERVER_ERROR, "setting"),
}
"""From how a call ends without a reply."""


class Problem(Exception):
    """A request ends without its answer.

    Args:
        status: of HTTP.
        code: one word for it: a reply's `rpcb-error`, or one of the gateway's own.
        detail: a sentence.
        field: the form's field that is wrong.
        reply: what the service itself said, where it did.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, field: str | None = None, reply: object = None
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.code = code
        self.detail = detail
        self.field = field
        self.reply = reply

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
        if self.reply is None:
            return msgspec.json.encode(told)
        try:
            return msgspec.json.encode(told | {"reply": self.reply})
        except (TypeError, ValueError, RecursionError):
            return msgspec.json.encode(told)

    @classmethod
    def of_call(cls, error: CallError | SettingError) -> Problem:
        """How a call ended without a reply."""
        status, code = CALL_ERRORS[type(error)]
        return cls(status, code, str(error))


def status_of_code(code: str) -> HTTPStatus:
    """The HTTP status for a reply's `rpcb-error`."""
    return STATUS_OF_CODE.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
