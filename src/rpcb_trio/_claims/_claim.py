"""What stands in a message for a body that is in a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Protocol

import msgspec

CLAIM_HEADER = "rpcb-claim"
"""AMQP header of a message whose body is in a store: a `Claim` as JSON. The message's own body is empty."""

CLAIMS_HEADER = "rpcb-claims"
"""AMQP header of a request: the root of the store from which its caller takes a large reply."""

NAME = re.compile(r"claim-[A-Za-z0-9_-]{32}", re.ASCII)
"""Of a file in a store; nobody can guess one, and no other file there has such a name."""

LONGEST = 2048
"""Characters of a claim's header."""


class Message(Protocol):
    """A request or a reply."""

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, object]: ...


class Claim(msgspec.Struct, frozen=True):
    """Where a body is, and what it is; `size` is in bytes.

    Raises:
        ValueError: it makes no sense.
    """

    url: str
    """The root of a store, a slash, and the name of a file there."""
    size: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

    @classmethod
    def of(cls, body: bytes, root: str, name: str) -> Claim:
        """The claim to a body that is put there."""
        return cls(f"{root}/{name}", len(body), sha256(body).hexdigest())

    @property
    def root(self) -> str:
        """Of its store."""
        return self.url.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Of its file there."""
        return self.url.rpartition("/")[2]

    @property
    def header(self) -> str:
        """As it stands in a message."""
        return msgspec.json.encode(self).decode()

    def is_to(self, body: bytes) -> bool:
        """Whether that is the body that it stands for."""
        return len(body) == self.size and sha256(body).hexdigest() == self.sha256


_decoder = msgspec.json.Decoder(Claim)


def is_claimed(message: Message) -> bool:
    """Whether a message's body is in a store; all but those of empty ones are told from their bodies."""
    return not message.body and CLAIM_HEADER in message.headers


def claim_in(message: Message) -> Claim:
    """The claim in a message.

    Raises:
        ValueError: it is none.
    """
    text = message.headers.get(CLAIM_HEADER)
    if not isinstance(text, str | bytes) or len(text) > LONGEST:
        raise ValueError("it is no text, or a very long one")
    claim = _decoder.decode(text)
    if not NAME.fullmatch(claim.name):
        raise ValueError("its URL does not end with the name of a claim")
    return claim
