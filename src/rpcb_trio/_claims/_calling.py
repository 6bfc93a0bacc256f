"""The claims of a client: it puts requests that are too large, and fetches what replies claim."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec

from rpcb_trio._claims._claim import CLAIM_HEADER, CLAIMS_HEADER, Claim, claim_in, is_claimed
from rpcb_trio._claims._store import ClaimStore
from rpcb_trio._messages import Outgoing, Reply
from rpcb_trio._shown import shown
from rpcb_trio.errors import ClaimFailed, PublishRefused, SettingError, Unroutable

log = logging.getLogger("rpcb_trio")

TRANSFER = 600.0
"""Seconds at most for one body, to or from the store; the call's own timeout is the one to set."""

CLEANING = 10.0
"""Seconds that removing one may take."""

LARGEST = 2**31
"""Bytes of a reply that is fetched."""


class CallerClaims:
    """What a client puts into its store, and fetches from there.

    Raises:
        SettingError: it names no store.
    """

    def __init__(self, where: str) -> None:
        self._store = ClaimStore(where)
        self._files = self._store.files

    async def open(self) -> None:
        """Make the store, if it is not there.

        Raises:
            SettingError: it can't be used.
        """
        await anyio.to_thread.run_sync(self._store.open)

    def marked(self, request: Outgoing) -> Outgoing:
        """The request, with the store where its reply may be put."""
        return _with_header(request, CLAIMS_HEADER, self._store.root)

    async def put(self, request: Outgoing) -> Outgoing:
        """The request with a claim in the place of its body, which is put into the store.

        Raises:
            ClaimFailed: it can't be put there.
        """
        try:
            claim: Claim = await self._files.aside(partial(self._store.put, request.body), TRANSFER)
        except OSError as error:
            why = f"the request can't be put into {self._store.root}: {shown(str(error))}"
            raise ClaimFailed(why) from error
        return msgspec.structs.replace(_with_header(request, CLAIM_HEADER, claim.header), body=b"")

    async def send(self, request: Outgoing, send: Callable[[Outgoing], Awaitable[Reply]]) -> Reply:
        """Send a request whose body is put into the store. Where it reaches no queue, that is removed.

        Raises:
            ClaimFailed: it can't be put there.
        """
        request = await self.put(request)
        try:
            return await send(request)
        except (Unroutable, PublishRefused, SettingError):  # no worker will see it
            await self._remove(claim_in(request))
            raise

    async def redeemed(self, reply: Reply) -> Reply:
        """The reply with its own body.

        Raises:
            ClaimFailed: it can't be had.
        """
        if not is_claimed(reply):
            return reply
        try:
            claim = self._read(reply)
            body = await self._files.aside(partial(self._store.get, claim), TRANSFER)
        except (OSError, ValueError) as error:
            why = f"the reply can't be fetched from {self._store.root}: {shown(str(error))}"
            raise ClaimFailed(why) from error
        await self._remove(claim)
        headers = {name: value for name, value in reply.headers.items() if name != CLAIM_HEADER}
        return msgspec.structs.replace(reply, body=body, headers=headers)

    def _read(self, reply: Reply) -> Claim:
        claim = claim_in(reply)
        if claim.root != self._store.root:
            raise ValueError(f"it is in {claim.root}")
        if claim.size > LARGEST:
            raise ValueError(f"it has {claim.size} bytes, and {LARGEST} are taken at most")
        return claim

    async def _remove(self, claim: Claim) -> None:
        """Remove a body; where that fails, it is left to be swept."""
        with anyio.CancelScope(shield=True):
            try:
                await self._files.aside(partial(self._store.delete, claim), CLEANING)
            except OSError as error:
                log.warning("claims: %s: a body can't be removed: %s", self._store.root, shown(str(error)))


def _with_header(request: Outgoing, name: str, value: str) -> Outgoing:
    return msgspec.structs.replace(request, headers={**request.headers, name: value})
