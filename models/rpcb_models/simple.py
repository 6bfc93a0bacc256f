"""The smallest services: an echo, and an accelerator that only takes time."""

from __future__ import annotations

import time

import msgspec

from rpcb_trio import Failure, Outcome, Success


def echo(bodies: list[bytes]) -> list[bytes]:
    """Answer each body with itself: `rpcb-trio serve rpcb_models.simple:echo`."""
    return bodies


class Echoed(msgspec.Struct, frozen=True):
    """The accelerator's reply, as JSON: the request's text and how many requests were in its batch."""

    echo: str
    batch_size: int


class Refused(msgspec.Struct, frozen=True):
    """The accelerator's reply to a request that failed, as JSON: the error's code and its text."""

    error: str
    reason: str


class Accelerator:
    """A model whose batch of b takes `a + c * b` seconds, as a GPU's nearly does.

    Args:
        a: Seconds that any batch takes.
        c: Seconds that each request adds.
    """

    content_type = "application/json"

    def __init__(self, a: float = 0.150, c: float = 0.025) -> None:
        self.a = a
        self.c = c

    def decode(self, body: bytes) -> str:
        """Read the request: a text in UTF-8.

        Raises:
            UnicodeDecodeError: it is none.
        """
        return body.decode()

    def infer(self, items: list[str]) -> list[Echoed]:
        """Take as long as the batch would."""
        time.sleep(self.a + self.c * len(items))
        return [Echoed(item, len(items)) for item in items]

    def encode(self, outcome: Outcome[Echoed]) -> bytes:
        """Write the reply as JSON."""
        match outcome:
            case Success(value=value):
                return msgspec.json.encode(value)
            case Failure(error=error):
                return msgspec.json.encode(Refused(error.code, str(error)))


accelerator = Accelerator()
