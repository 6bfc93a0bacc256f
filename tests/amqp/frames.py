"""What passes a proxy, read as AMQP: to check what no library tells, as which deliveries a client acks."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import cast

from pamqp.base import Frame  # noqa: TID251 - it reads AMQP too
from pamqp.commands import Basic  # noqa: TID251 - it reads AMQP too
from pamqp.frame import unmarshal  # noqa: TID251 - it reads AMQP too

from tests.amqp.proxy import Side

GREETING = b"AMQP\x00\x00\x09\x01"
HEAD = struct.Struct(">BHI")
"""Kind, channel and size of what follows (AMQP 0-9-1, section 2.3.5); an octet ends the frame."""

METHOD = 1


class Methods:
    """Cuts one way of one connection into methods."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[int, Frame]]:
        """Yield what is complete by now, with its channel."""
        self._rest = (self._rest + chunk).removeprefix(GREETING)
        while len(self._rest) >= HEAD.size:
            kind, channel, size = HEAD.unpack_from(self._rest)
            end = HEAD.size + size + 1
            if len(self._rest) < end:
                return
            whole, self._rest = self._rest[:end], self._rest[end:]
            if kind == METHOD:
                yield channel, cast(Frame, unmarshal(whole)[2])


class TagBook:
    """A proxy's tap: which deliveries are open on each channel, and what was settled that is not."""

    def __init__(self) -> None:
        self._ways: dict[tuple[int, Side], Methods] = defaultdict(Methods)
        self._open: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.settled = 0
        """How many tags were acked, rejected or nacked."""
        self.stale: list[str] = []
        """Each settling of a tag that was not delivered there, or had been settled before."""
        self.consumers: dict[int, str] = {}
        """The newest consumer's tag, by connection."""

    def __call__(self, connection: int, towards: Side, chunk: bytes) -> None:
        """Read what passes."""
        for channel, method in self._ways[connection, towards].feed(chunk):
            tags = self._open[connection, channel]
            match method, towards:
                case Basic.Deliver(delivery_tag=int(tag)), "client":
                    tags.add(tag)
                case Basic.ConsumeOk(consumer_tag=str(consumer)), "client":
                    self.consumers[connection] = consumer
                case ((Basic.Ack() | Basic.Nack()), "broker"):
                    self._settle(tags, method, multiple=bool(method.multiple))
                case Basic.Reject(), "broker":
                    self._settle(tags, method, multiple=False)

    def _settle(
        self, tags: set[int], method: Basic.Ack | Basic.Nack | Basic.Reject, *, multiple: bool
    ) -> None:
        tag = method.delivery_tag or 0
        if tag not in tags:
            self.stale.append(f"{method.name} of {tag}, where {sorted(tags)} are open")
            return
        settled = {each for each in tags if each <= tag} if multiple else {tag}
        self.settled += len(settled)
        tags -= settled
