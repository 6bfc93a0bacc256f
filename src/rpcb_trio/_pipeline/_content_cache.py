"""The replies that a worker keeps by what was asked, as its `Cache` says; they outlive a session.

A request that comes again, of the same caller, is another matter: see `_remembered`.
"""

from __future__ import annotations

import msgspec

from rpcb_trio._cache import REPLY_OVERHEAD, Cache
from rpcb_trio._messages import CACHE_HEADER, Answer, Reply, Request
from rpcb_trio._pipeline._generation import Generation
from rpcb_trio._pipeline._hooks import Offload
from rpcb_trio._pipeline._kept import LONG_BODY, KeptReplies


class ContentCache:
    """The replies of the present version of a service, by the content of their requests.

    Args:
        offload: hashes long bodies.
        setting: of the worker; None for what the service itself says.
    """

    def __init__(self, offload: Offload, setting: Cache | None = None) -> None:
        self._offload = offload
        self._setting = setting
        self._own: Cache | None = None
        self._generation = -1
        self._rule: Cache | None = None
        self._kept = KeptReplies(overhead=REPLY_OVERHEAD)

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return self._kept.size

    def rule_for(self, generation: Generation) -> Cache | None:
        """What is kept for a service; None for nothing. Replies of a former one are forgotten."""
        if generation.number > self._generation:
            self._generation, self._own = generation.number, generation.service.cache
            self._kept.clear()
            self.change(self._setting)
        return self._rule

    def change(self, setting: Cache | None) -> None:
        """Have another setting from now on."""
        self._setting = setting
        rule = self._own if setting is None else setting.replacing(self._own)
        self._rule = rule if rule is not None and rule.ttl > 0 else None
        if self._rule is None:
            self._kept.clear()
        else:
            self._kept.limit(most_bytes=self._rule.max_bytes, ttl=self._rule.ttl)

    def clear(self) -> None:
        """Forget all that is kept."""
        self._kept.clear()

    async def key_of(self, request: Request, rule: Cache) -> bytes:
        """By what its reply is kept."""
        if len(request.body) < LONG_BODY:
            return rule.key_of(request)
        return await self._offload(lambda: rule.key_of(request))

    def get(self, key: bytes, request: Request) -> Answer | None:
        """The answer to a request, if there is a reply for it."""
        reply = self._kept.get(key)
        return None if reply is None else answer_with(reply, request)

    def put(self, key: bytes, reply: Reply, generation: Generation) -> None:
        """Keep the reply of a service, unless another version of it is here already."""
        if generation.number == self._generation and self._rule is not None:
            self._kept.put(key, reply)


def shareable(reply: Reply, generation: Generation) -> Reply:
    """A reply as others get it: without what is of its own request and batch."""
    headers = {**generation.encoding.headers, CACHE_HEADER: "hit"}
    return msgspec.structs.replace(reply, correlation_id=None, headers=headers)


def answer_with(reply: Reply, request: Request) -> Answer:
    """The answer to a request with the reply to an equal one."""
    return Answer(request, msgspec.structs.replace(reply, correlation_id=request.correlation_id))


def is_hit(answer: Answer) -> bool:
    """Whether it is the reply to an equal request."""
    return answer.reply is not None and CACHE_HEADER in answer.reply.headers
