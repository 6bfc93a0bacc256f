"""How the path of a request may end, and which end is due to which kind."""

from __future__ import annotations

from enum import Enum, IntFlag

from benches.soak.bodies import Kind


class Mark(IntFlag):
    """What is known of a request; any of these but `CONFIRMED` ends the waiting for it."""

    CONFIRMED = 1
    """The broker has it."""
    ANSWERED = 2
    FAILED = 4
    """An error reply came."""
    EXPIRED = 8
    DEAD = 16
    """It was dead-lettered for what it is."""
    GONE = 32
    """Its producer's address went with a connection."""
    UNCONFIRMED = 64
    """The connection broke before the broker had said that it has it."""
    QUEUED = 128
    """It was found in the queue at the end."""
    BURIED = 256
    """It was found in the dead-letter queue, for whatever reason."""


class Ending(Enum):
    """How the path of a request ended."""

    ANSWERED = "answered"
    FAILED = "error reply"
    """The one that is due to such a request."""
    EXPIRED = "expired"
    DEAD = "dead-lettered"
    GONE = "caller gone"
    """Its connection was cut, and its address with it."""
    UNCONFIRMED = "unconfirmed"
    """The broker never said that it has it, so the request is still its producer's."""
    QUEUED = "still queued"
    LOST = "LOST"


ENDED_BY = {
    Mark.ANSWERED: Ending.ANSWERED,
    Mark.DEAD: Ending.DEAD,
    Mark.FAILED: Ending.FAILED,
    Mark.EXPIRED: Ending.EXPIRED,
    Mark.QUEUED: Ending.QUEUED,
    Mark.GONE: Ending.GONE,
    Mark.UNCONFIRMED: Ending.UNCONFIRMED,
}
"""The first mark that a request bears says how it ended."""

DUE = {
    Kind.PLAIN: Mark.ANSWERED,
    Kind.BARE: Mark.ANSWERED,
    Kind.EXPIRING: Mark.ANSWERED | Mark.EXPIRED,
    Kind.POISON: Mark.FAILED,
    Kind.GARBLED: Mark.FAILED,
    Kind.FORGED: Mark.DEAD,
    Kind.LETHAL: Mark.DEAD | Mark.FAILED,
    Kind.FULL: Mark.DEAD,
    Kind.FORKING: Mark.DEAD | Mark.FAILED,
}
"""What may become of a request that reaches a worker."""

ERRORS = {
    Kind.POISON: {"infer"},
    Kind.GARBLED: {"decode"},
    Kind.EXPIRING: {"expired", "too-late"},
    Kind.LETHAL: {"killed-worker"},
    Kind.FORKING: {"killed-worker"},
}
"""The codes of the error replies that are due."""


class Again(Enum):
    """Why a request was answered once more."""

    COMPUTED = "redelivered and computed again"
    SENT = "the same reply sent again"
    UNEXPLAINED = "computed again though nothing had failed"


def ending_of(marks: int) -> Ending:
    """How a request with these marks ended."""
    return next((ending for mark, ending in ENDED_BY.items() if marks & mark), Ending.LOST)
