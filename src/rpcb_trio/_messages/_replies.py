"""A reply, as a worker sends it and a client receives it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rpcb_trio._messages._headers import (
    END_HEADER,
    ERROR_HEADER,
    KIND_HEADER,
    NO_HEADERS,
    PART_HEADER,
    REASON_HEADER,
)
from rpcb_trio.errors import CallError


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One reply, on its way to a caller or as an `RpcClient` received it."""

    body: bytes
    correlation_id: str | None = None
    headers: Mapping[str, object] = NO_HEADERS
    content_type: str = "application/octet-stream"

    @property
    def part(self) -> int | None:
        """The number of the part, from 0, where it is a part of a reply; None where it is a whole one."""
        number = self.headers.get(PART_HEADER)
        return number if isinstance(number, int) else None

    @property
    def is_last(self) -> bool:
        """Whether no further part follows."""
        return PART_HEADER not in self.headers or self.headers.get(END_HEADER) is True

    @property
    def error(self) -> str | None:
        """The error's one-word code where this is an error reply of an rpcb_trio worker, else None."""
        return self._text(ERROR_HEADER)

    @property
    def error_kind(self) -> str | None:
        """Whose fault the error is: `request`, `service` or `busy`; None where it says nothing of it."""
        return self._text(KIND_HEADER)

    @property
    def error_reason(self) -> str | None:
        """The error's text for people, on one line; None where there is none."""
        return self._text(REASON_HEADER)

    def _text(self, header: str) -> str | None:
        text = self.headers.get(header)
        return text if isinstance(text, str) else None

    def raise_for_error(self) -> Reply:
        """Return the reply itself.

        Raises:
            RemoteError: it is an error reply.
        """
        if self.error is None:
            return self
        raise RemoteError(self)


class RemoteError(CallError):
    """The worker answered with an error reply (see `Reply.raise_for_error`)."""

    def __init__(self, reply: Reply) -> None:
        said = repr(reply.body[:200]) if reply.error_reason is None else reply.error_reason
        super().__init__(f"the worker answered with an error ({reply.error}): {said}")
        self.reply: Reply = reply
        """The error reply; its `body` has the service's own shape."""
        self.code: str = reply.error or "error"
        """One word for the error, as in `Reply.error`."""

    @property
    def kind(self) -> str | None:
        """Whose fault the error is: `request`, `service` or `busy`; None where the worker does not say."""
        return self.reply.error_kind

    @property
    def body(self) -> bytes:
        """The body of the reply."""
        return self.reply.body
