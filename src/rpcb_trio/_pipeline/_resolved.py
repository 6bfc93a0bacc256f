"""A request with what becomes of it: what the stages pass on to where replies are encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rpcb_trio._messages import NO_HEADERS, Failure, Outcome, Request
from rpcb_trio.errors import OutcomeError


class Resolved(msgspec.Struct, frozen=True, eq=False):
    """A request with its outcome, ready to be encoded."""

    request: Request
    outcome: Outcome[Any]
    headers: Mapping[str, object] = NO_HEADERS
    """Of its reply, about its batch."""

    @property
    def error(self) -> OutcomeError | None:
        """Why there is no result; None where there is one."""
        return self.outcome.error if isinstance(self.outcome, Failure) else None
