"""Which replies a worker keeps, so that equal requests are answered without being computed again."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from rpcb_trio._bounds import NOT_NEGATIVE, Bounds
from rpcb_trio._messages import Request
from rpcb_trio.errors import SettingError

MAX_CACHE_BYTES: Final = 64 * 2**20
"""Bytes, unless set otherwise."""

REPLY_OVERHEAD: Final = 1024
"""Bytes that keeping a reply costs beside its body, at most: its key, its places, its headers."""

CACHE_BYTES: Final = Bounds(least=REPLY_OVERHEAD)
"""With less, not even an empty reply fits."""

KEY_SIZE: Final = 32
"""Bytes of a key. A caller who found two bodies of one key could have others get a wrong reply; of this many
bytes nobody can find two."""


class Cache(msgspec.Struct, frozen=True):
    """Lets a worker answer a request with the reply to an equal one, for some time.

    Requests are equal where body, `content_type`, `content_encoding` and the chosen headers are. Equal ones
    that come while one of them is computed wait for its reply, too. Only successes are given to others.

    Raises:
        SettingError: a number is out of bounds, or `headers` is a single text.
    """

    ttl: float
    """Seconds for which a reply is given to equal requests; infinity for any time, 0 for no cache."""
    max_bytes: int = MAX_CACHE_BYTES
    """Of all replies that are kept, with what keeping each costs; those least recently used leave first."""
    headers: tuple[str, ...] = ()
    """Names of AMQP headers that a reply depends on, as the language, or the tenant."""

    def __post_init__(self) -> None:
        NOT_NEGATIVE.check("cache", self.ttl)
        CACHE_BYTES.check("cache_max_bytes", self.max_bytes)
        names: object = self.headers  # whatever its type says
        if isinstance(names, str) or not all(isinstance(each, str) for each in self.headers):
            raise SettingError(f"cache_header is {self.headers!r}; give a list of names")
        msgspec.structs.force_setattr(self, "headers", tuple(sorted({*self.headers})))

    def replacing(self, own: Cache | None) -> Cache:
        """This one in the place of a service's own, whose headers count as well: its replies need them."""
        if own is None:
            return self
        return msgspec.structs.replace(self, headers=(*self.headers, *own.headers))

    def key_of(self, request: Request) -> bytes:
        """The same for all requests that are equal, and for no others."""
        headers = [(name, request.headers[name]) for name in self.headers if name in request.headers]
        head = ascii((self.headers, headers, request.content_type, request.content_encoding))
        digest = hashlib.blake2b(head.encode(), digest_size=KEY_SIZE)
        digest.update(b"\0")  # of which there is none in what `ascii` makes
        digest.update(request.body)
        return digest.digest()
