"""By what a request is followed: its correlation id, its request id, and the id of its trace."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from rpcb_trio._messages import REQUEST_ID_HEADER, Request
from rpcb_trio._shown import shown

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
"""Headers of W3C Trace Context, of HTTP and of AMQP."""

LONGEST_CONTEXT = 512
"""Characters of either; a longer one is none."""

LONGEST_CORRELATION_ID = 255
"""Characters; AMQP allows as many bytes."""

ACCEPTABLE_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""A request id; anything else is none."""

ACCEPTABLE_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?"
)
"""Versions to come may add to it, behind a hyphen."""

ACCEPTABLE_TRACESTATE = re.compile(rf"[ -~]{{1,{LONGEST_CONTEXT}}}")

FIRST_VERSION, FIRST_LENGTH = "00", 55


class RequestIds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """By what a request is followed; None for what it does not bear.

    They are its caller's words, so they are bounded text of one line.
    """

    correlation_id: str | None = None
    request_id: str | None = None
    """Of its header `x-request-id`: the same at the gateway and here."""
    trace_id: str | None = None
    """Of its header `traceparent` (W3C Trace Context), in hex."""

    def as_fields(self) -> dict[str, object]:
        """Those that it has, as fields of a line of the log."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


def ids_of(request: Request, longest: int = LONGEST_CORRELATION_ID) -> RequestIds:
    """The ids of a request; of its correlation id some `longest` characters."""
    correlation_id, headers = request.correlation_id, request.headers
    return RequestIds(
        correlation_id=None if correlation_id is None else shown(correlation_id, longest),
        request_id=request_id_in(headers) if headers else None,
        trace_id=trace_id_in(headers) if headers else None,
    )


def request_id_in(headers: Mapping[str, object]) -> str | None:
    """What headers, their names in any spelling, have for a request id; None where that is no sane one."""
    for name, value in headers.items():
        if len(name) == len(REQUEST_ID_HEADER) and name.lower() == REQUEST_ID_HEADER:
            return value if isinstance(value, str) and ACCEPTABLE_ID.fullmatch(value) else None
    return None


def trace_id_in(headers: Mapping[str, object]) -> str | None:
    """The id in a `traceparent`; None where there is none, or it is not valid."""
    found = _valid(headers.get(TRACEPARENT))
    return None if found is None else found[2]


def context_in(headers: Mapping[str, object]) -> dict[str, object]:
    """The headers of a trace's context, for whoever passes a request on; none where it is not valid."""
    found = _valid(headers.get(TRACEPARENT))
    if found is None:
        return {}
    state = headers.get(TRACESTATE)
    is_sane = isinstance(state, str) and ACCEPTABLE_TRACESTATE.fullmatch(state)
    return {TRACEPARENT: found[0]} | ({TRACESTATE: state} if is_sane else {})


def _valid(traceparent: object) -> re.Match[str] | None:
    if not isinstance(traceparent, str) or len(traceparent) > LONGEST_CONTEXT:
        return None
    found = ACCEPTABLE_TRACEPARENT.fullmatch(traceparent)
    if found is not None and found[1] == FIRST_VERSION and len(traceparent) != FIRST_LENGTH:
        return None
    return found
