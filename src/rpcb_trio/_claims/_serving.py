"""The claims of a worker: it fetches what requests claim, and puts replies that are too large."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import trio

from rpcb_trio._claims._claim import CLAIM_HEADER, CLAIMS_HEADER, Claim, claim_in, is_claimed
from rpcb_trio._claims._store import ClaimStore
from rpcb_trio._messages import Answer, Reply, Request, Settled
from rpcb_trio._shown import shown
from rpcb_trio.errors import BodyTooBig, ClaimRefused, ClaimsUnavailable, ReplyTooBig, SettingError

log = logging.getLogger("rpcb_trio")

CLAIMS_KEPT = 86400.0
"""Seconds, unless set otherwise, after which a body that is still in a store is removed."""

LARGEST = 512 * 2**20
"""Bytes of a body, where no setting bounds it."""

SHORTEST_SWEEP, LONGEST_SWEEP = 10.0, 3600.0
"""Seconds from one sweep to the next."""

DELETING = 10.0
"""Seconds that removing a body may take; what is left then is swept."""

KEPT = frozenset({Settled.REJECTED, Settled.REQUEUED})
"""Endings after which a request lives on, and with it what it claims."""


class Claims:
    """What requests claim of the stores of a worker.

    Args:
        stores: the roots of all stores that it takes bodies from.
        kept: seconds after which a body that is still there is removed.
        offload: runs what blocks.

    Raises:
        SettingError: one names no store, or one is named twice.
    """

    def __init__(
        self,
        stores: Sequence[str],
        *,
        kept: float = CLAIMS_KEPT,
        offload: Callable[[Callable[[], object]], Awaitable[object]] = trio.to_thread.run_sync,
    ) -> None:
        if isinstance(stores, str):
            raise SettingError(f"claims is {stores!r}; give a list of them, as [{stores!r}]")
        self._stores = {store.root: store for store in map(ClaimStore, stores)}
        self._kept = kept
        self._offload = offload

    def __bool__(self) -> bool:
        return bool(self._stores)

    async def open(self) -> None:
        """Make the stores, if they are not there.

        Raises:
            SettingError: one can't be used.
        """
        for store in self._stores.values():
            await self._offload(store.open)

    def body_of(self, request: Request, most: int | None) -> bytes:
        """The body that a request claims, of at most so many bytes. It blocks.

        Raises:
            ClaimRefused: this worker takes none from there, or there is none, or another one.
            BodyTooBig: it is larger.
            ClaimsUnavailable: the store can't be read.
        """
        claim, store = self._read(request)
        most = LARGEST if most is None else most
        if claim.size > most:
            said = f"the request has {claim.size} bytes, and {most} are allowed (max_body_size)"
            raise BodyTooBig(said)
        try:
            return store.get(claim)
        except FileNotFoundError:
            raise ClaimRefused(f"the request's body is not in {store.root}, or no longer") from None
        except ValueError:
            raise ClaimRefused(f"the body in {store.root} is not the one that {CLAIM_HEADER} says") from None
        except OSError as error:
            raise ClaimsUnavailable(f"{store.root} can't be read: {shown(str(error))}") from error

    def takes_reply(self, request: Request) -> bool:
        """Whether its caller takes a large reply from one of the stores."""
        return bool(self._stores) and request.headers.get(CLAIMS_HEADER) in self._stores

    def put(self, request: Request, reply: bytes) -> Claim | ReplyTooBig:
        """Put a reply where its caller takes it from. It blocks."""
        store = self._stores[str(request.headers[CLAIMS_HEADER])]
        try:
            return store.put(reply)
        except OSError as error:
            why = f"the reply has {len(reply)} bytes, and can't be put into {store.root}"
            return ReplyTooBig(f"{why}: {shown(str(error))}")

    async def settled(self, answers: Sequence[Answer], endings: Iterable[Settled]) -> None:
        """Remove what is not needed any more, of requests that have ended so."""
        over: list[tuple[ClaimStore, Claim]] = []
        for answer, ending in zip(answers, endings, strict=True):
            if is_claimed(answer.request) and ending not in KEPT:
                over += self._known(answer.request)
            if answer.reply is not None and is_claimed(answer.reply) and ending is not Settled.REPLIED:
                over += self._known(answer.reply)
        for store, claim in over:
            await self._delete(store, claim)

    def concerns(self, answers: Iterable[Answer]) -> bool:
        """Whether one of them has a claim; for all others nothing needs to be done."""
        return any(
            is_claimed(answer.request) or (answer.reply is not None and is_claimed(answer.reply))
            for answer in answers
        )

    async def sweep_for_ever(self) -> None:
        """Remove what is left over: of callers that have gone, and of workers that were killed."""
        pause = min(max(self._kept / 8, SHORTEST_SWEEP), LONGEST_SWEEP)
        while True:
            for store in self._stores.values():
                try:
                    removed = await self._offload(partial(store.sweep, time.time() - self._kept))
                except OSError as error:
                    log.warning("claims: %s can't be swept: %s", store.root, shown(str(error)))
                else:
                    if removed:
                        log.info("claims: %s: %d left over were removed", store.root, removed)
            await trio.sleep(pause)

    def _read(self, request: Request) -> tuple[Claim, ClaimStore]:
        try:
            claim = claim_in(request)
        except ValueError as error:
            raise ClaimRefused(f"{CLAIM_HEADER} can't be read: {shown(str(error))}") from None
        store = self._stores.get(claim.root)
        if store is None:
            raise ClaimRefused(_nowhere(claim.root, bool(self._stores)))
        return claim, store

    def _known(self, message: Request | Reply) -> list[tuple[ClaimStore, Claim]]:
        try:
            claim = claim_in(message)
        except ValueError:
            return []
        store = self._stores.get(claim.root)
        return [] if store is None else [(store, claim)]

    async def _delete(self, store: ClaimStore, claim: Claim) -> None:
        try:
            with trio.move_on_after(DELETING) as timeout:
                await self._offload(partial(store.delete, claim))
        except OSError as error:
            log.warning("claims: %s: a body can't be removed: %s", store.root, shown(str(error)))
        else:
            if timeout.cancelled_caught:
                log.warning("claims: %s: a body can't be removed within %g s", store.root, DELETING)


def _nowhere(root: str, has_stores: bool) -> str:  # noqa: FBT001 - private
    if not has_stores:
        return "the request's body is in a store, and this worker takes none from there; set its claims"
    return f"the request's body is in {shown(root)}, which is none of this worker's claims"


NO_CLAIMS = Claims(())
"""Of a worker that takes none."""
