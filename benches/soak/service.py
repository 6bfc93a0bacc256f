"""What the workers of the soak serve."""

from __future__ import annotations

import os
import time
import zlib

from benches.soak.bodies import Item, Kind, Result, read_item, result_body
from rpcb_trio import Failure, Outcome, Success

BATCH_SECONDS, ITEM_SECONDS = 0.004, 0.001
FORKED_SECONDS = 1.0
"""How long a forked process outlives its parent."""


class PoisonError(Exception):
    """What a poisonous request makes the model raise; it names the request."""


class Checked:
    """A model that tells what it saw, and fails as it is told."""

    def __init__(self) -> None:
        self._runs = 0

    def decode(self, body: bytes) -> Item:
        """Read the request; a garbled one raises."""
        return read_item(body)

    def infer(self, items: list[Item]) -> list[Result | Exception]:
        """Take some time, and do to each item as its kind says."""
        self._runs += 1
        time.sleep(BATCH_SECONDS + ITEM_SECONDS * len(items))
        run = zlib.crc32(b"%d %d" % (os.getpid(), self._runs))
        return [_infer(item, run) for item in items]

    def encode(self, outcome: Outcome[Result]) -> bytes:
        """Write the reply; an error's names its request where the model knew it."""
        match outcome:
            case Success(value=value):
                return result_body(value)
            case Failure(error=error):
                return f"{error}: {error.__cause__}".encode()


def _infer(item: Item, run: int) -> Result | Exception:
    if item.kind is Kind.FORKING and os.fork() == 0:
        time.sleep(FORKED_SECONDS)  # with all that its parent had open
        os._exit(0)
    if item.kind in (Kind.LETHAL, Kind.FORKING):
        os.abort()
    if item.kind is Kind.POISON:
        poison = PoisonError(f"request {item.number:012d} is poison")
        if item.number % 2:
            raise poison
        return poison
    return Result(item.number, item.checksum, run)
