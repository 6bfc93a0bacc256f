"""What a server is given to do, and the models that it may run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

Model: TypeAlias = Callable[[list[bytes]], list[bytes]]
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
SHORT_BYTES = 64


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


def short(bodies: list[bytes]) -> list[bytes]:
    """A short reply to whatever came, as a recogniser gives."""
    return [body[:SHORT_BYTES] for body in bodies]


def slow(bodies: list[bytes]) -> list[bytes]:
    """As long as an accelerator takes that has `2 + 0.2 b` ms for a batch of b."""
    time.sleep(2e-3 + 2e-4 * len(bodies))
    return bodies


HEAVY: Final = (0.040, 0.004)
"""Seconds of any batch, and of each request in it."""


def heavy(bodies: list[bytes]) -> list[bytes]:
    """As long as an accelerator takes that has `40 + 4 b` ms for a batch of b."""
    fixed, each = HEAVY
    time.sleep(fixed + each * len(bodies))
    return bodies


MODELS: dict[str, Model] = {"echo": echo, "short": short, "slow": slow}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Serve a queue until the process is ended."""

    url: str
    queue: str
    model: str
    batch_size: int = 32
    prefetch: int = 64

    @property
    def infer(self) -> Model:
        return MODELS[self.model]

    @property
    def target(self) -> str:
        """The same, as the command takes it."""
        return f"{__name__}:{self.model}"

    @property
    def is_slow(self) -> bool:
        """Whether it needs a thread, lest the connection waits for it."""
        return self.model == "slow"


def this_job() -> Job:
    return msgspec.json.decode(sys.argv[1], type=Job)
