"""Why a request fails, as HTTP says it (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rpcb_trio._messages import Reply
from rpcb_trio._shown import shortened
from rpcb_trio.errors import (
    CallError,
    CallInterrupted,
    PublishRefused,
    ReplyTimeout,
    RequestTooBig,
    SettingError,
)

STATUS_OF_KIND = {
    "request": HTTPStatus.BAD_REQUEST,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "service": HTTPStatus.INTERNAL_SERVER_ERROR,
}

STATUS_OF_CODE = {
    "decode": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too-big": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "expired": HTTPStatus.GATEWAY_TIMEOUT,
    "too-late": HTTPStatus.GATEWAY_TIMEOUT,
}
"""Codes for which HTTP has a closer status than that of their kind."""

STATUS_OF_CALL: dict[str, HTTPStatus] = {
    PublishRefused.code: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTooBig.code: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ReplyTimeout.code: HTTPStatus.GATEWAY_TIMEOUT,
    CallInterrupted.code: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By the code of a call that ended without a reply; 502 for any other."""

NO_HEADERS: Mapping[str, str] = {}

LONGEST_DETAIL = 1000
"""Characters of a detail; some errors quote what a client has sent."""


class Problem(Exception):
    """A request fails.

    Args:
        status: the HTTP status.
        code: one word for the error: a reply's `rpcb-error`, or one of the gateway's own.
        detail: a sentence for people.
        field: the field of the form that is wrong.
        is_missing: whether that field is wrong because it was not sent.
        reply: the body of the service's error reply, decoded, where there is one.
        headers: of HTTP, to be sent along.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        is_missing: bool = False,
        reply: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(detail)
        self.status: int = int(status)
        self.code: str = code
        self.detail: str = shortened(detail, LONGEST_DETAIL)
        self.field: str | None = field
        self.is_missing: bool = is_missing
        self.reply: object = reply
        self.headers: Mapping[str, str] = headers

    def as_json(self, **more: object) -> bytes:
        """The problem and `more` as JSON; without `reply` where that can't be JSON."""
        members: dict[str, object] = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "error": self.code,
            "detail": self.detail,
            **({} if self.field is None else {"field": self.field}),
            **more,
        }
        for each in ({} if self.reply is None else {"reply": self.reply}, {}):
            try:
                return msgspec.json.encode(members | each)
            except (TypeError, ValueError, OverflowError, RecursionError):
                pass  # the reply, or a detail that quotes it, can't be JSON
        return msgspec.json.encode({"title": members["title"], "status": self.status, "error": "?", **more})

    @classmethod
    def of_call(cls, error: CallError | SettingError) -> Problem:
        """The problem of a call that ended without a reply."""
        if isinstance(error, SettingError):
            return cls(HTTPStatus.INTERNAL_SERVER_ERROR, "setting", str(error))
        return cls(STATUS_OF_CALL.get(error.code, HTTPStatus.BAD_GATEWAY), error.code, str(error))


def busy(why: str) -> Problem:
    """503: the gateway has no room for the request now."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{why}; try again later")


def no_broker() -> Problem:
    """503: the gateway is not connected."""
    why = "there is no connection to the broker; try again later"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-broker", why)


def status_of_error(reply: Reply) -> HTTPStatus:
    """The HTTP status of an error reply, by its kind. Workers of earlier versions send no kind."""
    code, kind = reply.error or "", reply.error_kind
    status = STATUS_OF_CODE.get(code)
    if status is not None and (
        kind is None or (kind == "request") == (status < HTTPStatus.INTERNAL_SERVER_ERROR)
    ):
        return status
    if kind is None:
        kind = "request" if code == "request" else "service"
    return STATUS_OF_KIND.get(kind, HTTPStatus.INTERNAL_SERVER_ERROR)
