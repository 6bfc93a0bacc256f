"""Which requests are decoded and wait for a batch; who is turned away is told so at once.

A newcomer is refused before it is decoded. A redelivered request is none: it has been admitted before, and
losing a session must not turn what was held into refusals; the prefetch bounds those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import trio

from rpcb_trio._errors import BodyTooBig, CallerGone, NoReplyTo, Overloaded
from rpcb_trio._messages import Answer, Failure, Pending, Request
from rpcb_trio._pipeline._codec import Codec, Resolved
from rpcb_trio._pipeline._reply_cache import ReplyCache
from rpcb_trio._pipeline._unpacking import is_plain
from rpcb_trio._transports import Session

TURNS = 2
"""Of the scheduler: in that many, the batcher has taken a batch if an executor is idle."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a request must be like; the defaults let all pass."""

    max_pending: int | None = None
    """How many decoded requests may wait for a batch; None for as many as come."""
    max_body_size: int | None = None
    """Bytes."""
    needs_reply_to: bool = False
    """Whether a request that names nobody to answer goes to the dead letters."""
    checks_caller: bool = False
    """Whether a request is dropped whose direct reply-to address leads nowhere any more."""


class Admission:
    """The way into the pending requests, through `decode`.

    Args:
        codec: decodes who is admitted.
        session: knows whether a caller is still there.
        reply_cache: the replies of earlier requests.
        rules: who is admitted.
        backlog: tells how many decoded requests wait for a batch.
    """

    def __init__(
        self,
        codec: Codec,
        session: Session,
        reply_cache: ReplyCache,
        *,
        rules: Rules,
        backlog: Callable[[], int],
    ) -> None:
        self._codec = codec
        self._session = session
        self._reply_cache = reply_cache
        self._rules = rules
        self._backlog = backlog
        self._decoding = 0

    @property
    def takes_bodies(self) -> bool:
        """Whether nothing needs decoding (see `Codec`)."""
        return self._codec.takes_bodies

    def is_prompt(self, requests: Sequence[Request]) -> bool:
        """Whether there is nothing to wait for with any of these, so that `admit_promptly` will do."""
        rules = self._rules
        asks = self._reply_cache.is_on or rules.checks_caller or rules.max_pending is not None
        return self._codec.takes_bodies and not asks and all(map(is_plain, requests))

    def admit_promptly(self, requests: Sequence[Request]) -> list[Pending | Resolved | Answer]:
        """As `admit`, for all that are here, of which none is a suspect."""
        now = trio.current_time()
        return [self._refuse(request) or self._codec.take_body(request, now) for request in requests]

    async def admit(self, request: Request, *, suspect: bool) -> Pending | Resolved | Answer:
        """Decode a request, or turn it away: with an error to encode, or with an answer as it is."""
        turned_away = self._refuse(request) or await self._answer_again(request)
        if turned_away is not None:
            return turned_away
        if self._rules.max_pending is not None and not request.redelivered:
            await self._let_a_batch_go()
            if self._is_full():
                error = Overloaded(f"{self._rules.max_pending} requests wait already (max_pending)")
                return Resolved(request, Failure(error))
        self._decoding += 1
        try:
            decoded = await self._codec.decode(request, suspect=suspect)
        finally:
            self._decoding -= 1
        return Resolved(request, decoded) if isinstance(decoded, Failure) else decoded

    def _refuse(self, request: Request) -> Resolved | Answer | None:
        rules = self._rules
        most = rules.max_body_size
        if rules.needs_reply_to and request.reply_to is None:
            error = NoReplyTo("the request names nobody to answer (no reply_to)")
            return Answer(request, None, error, dead_letter=str(error))
        if most is not None and len(request.body) > most:
            said = f"the request has {len(request.body)} bytes, and {most} are allowed (max_body_size)"
            return Resolved(request, Failure(BodyTooBig(said)))
        return None

    async def _answer_again(self, request: Request) -> Answer | None:
        if self._reply_cache.is_on and (reply := await self._reply_cache.get(request)) is not None:
            return Answer(request, reply)
        if await self._is_for_nobody(request):
            return Answer(request, None, CallerGone("its caller is gone; it was not computed"))
        return None

    async def _is_for_nobody(self, request: Request) -> bool:
        if not self._rules.checks_caller or request.reply_to is None:
            return False
        return not await self._session.has_caller(request.reply_to)

    async def _let_a_batch_go(self) -> None:
        """Many come at once, before the batcher has had a turn; what an idle executor takes makes room."""
        if self._is_full():
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()

    def _is_full(self) -> bool:
        most = self._rules.max_pending
        return most is not None and self._backlog() + self._decoding >= most
