"""Whose a request is, and how much of the worker each tenant is due."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from rpcb_trio._bounds import Bounds
from rpcb_trio._messages import Request, caller_hash
from rpcb_trio._shown import shown
from rpcb_trio.errors import SettingError

REPLY_TO = "reply-to"
OTHERS = "*"
LONGEST = 255
"""Characters of a name that is shown."""
WEIGHTS = Bounds(least=0.001, most=1000)
NO_WEIGHTS: Mapping[str, float] = {}


class Shares(msgspec.Struct, frozen=True):
    """Lets the tenants of a queue share its worker fairly, in the unit of `service.cost`.

    Where requests of several tenants wait, the next one is of the tenant that has been served least, by its
    weight. A tenant that sends more waits longer for its own requests, and makes no other wait. A tenant of
    whom nothing waits is not known; it saves nothing up, and owes nothing.

    Raises:
        SettingError: a weight is out of bounds, or there is no name.
    """

    tenant: str = REPLY_TO
    """Where a request says whose it is: the name of an AMQP header, or `reply-to` for the address that it is
    answered at. That address stands in, too, where the header is missing."""
    weights: Mapping[str, float] = NO_WEIGHTS
    """How many shares a tenant has, where it is not 1. With a weight for `*` all that have no weight of their
    own are one tenant together."""

    def __post_init__(self) -> None:
        if not self.tenant.strip():
            raise SettingError("tenant is empty; name a header, set it to reply-to, or leave it out")
        for tenant, weight in self.weights.items():
            WEIGHTS.check(f"weight of {tenant!r}", weight)

    def tenant_of(self, request: Request) -> str:
        """The name of a request's tenant; empty where it says nothing of it."""
        weights = self.weights
        said = None if self.tenant == REPLY_TO else request.headers.get(self.tenant)
        name = (said is not None and _as_text(said)) or request.reply_to or ""
        return OTHERS if weights and name not in weights and OTHERS in weights else name

    def shown_tenant(self, request: Request) -> str:
        """The name as a log or a file may show it: of an address only the hash."""
        tenant = self.tenant_of(request)
        return caller_hash(tenant) if tenant == request.reply_to else shown(tenant, LONGEST)

    def weight_of(self, tenant: str) -> float:
        """How many shares it has."""
        return self.weights.get(tenant, 1.0)


def _as_text(value: object) -> str:
    """What a header says: client libraries send texts as bytes, and numbers as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace")
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return ""
