"""What requests and replies say, so that each can be told from all others and checked by itself.

A request's body is its number, its kind and a payload that follows from the number. A reply repeats the
number, and adds the checksum of the request as the model saw it and the run of the model that computed it.
"""

from __future__ import annotations

import re
import zlib
from enum import Enum

import msgspec

NUMBER = re.compile(rb"\b\d{12}\b")
LARGE_EVERY = 61
LARGE_BODY = 200_000
"""Bytes: more than one frame."""


class Kind(Enum):
    """What is special about a request."""

    PLAIN = 0
    BARE = 1
    """It has no correlation id."""
    EXPIRING = 2
    """It expires soon."""
    POISON = 3
    """`infer` raises for it, or returns an exception."""
    GARBLED = 4
    """It can't be decoded."""
    FORGED = 5
    """Its `reply_to` is an address that makes the broker close the connection that publishes there."""
    LETHAL = 6
    """`infer` aborts the process."""
    FULL = 7
    """Its `reply_to` is a queue that is full, so the broker refuses the reply."""
    FORKING = 8
    """`infer` forks a process that lives on for a while, and aborts."""


class Item(msgspec.Struct, frozen=True):
    """A request as the model sees it."""

    number: int
    kind: Kind
    checksum: int


class Result(msgspec.Struct, frozen=True):
    """A reply as its producer sees it."""

    number: int
    checksum: int
    run: int
    """Which run of which worker's model computed it; 32 bits that hardly any other run has."""


def request_body(number: int, kind: Kind) -> bytes:
    text = b"%012d" % number
    size = LARGE_BODY if number % LARGE_EVERY == 0 else 20 + number % 200
    end = b"\xff" if kind is Kind.GARBLED else b"."
    return b"%b %b %b%b" % (text, kind.name.encode(), text * (size // len(text)), end)


def read_item(body: bytes) -> Item:
    """Read a request.

    Raises:
        ValueError: it is garbled.
    """
    number, kind, _ = body.decode("ascii").split(" ")
    return Item(int(number), Kind[kind], zlib.crc32(body))


def checksum_of(number: int, kind: Kind) -> int:
    """What a reply must have as its checksum."""
    return zlib.crc32(request_body(number, kind))


def result_body(result: Result) -> bytes:
    return b"%012d %d %d" % (result.number, result.checksum, result.run)


def read_result(body: bytes) -> Result:
    """Read a reply.

    Raises:
        ValueError: it is none.
    """
    number, checksum, run = map(int, body.split(b" "))
    return Result(number, checksum, run)


def number_in(body: bytes) -> int | None:
    """The number of the request that a message is about, if it tells."""
    found = NUMBER.search(body)
    return int(found[0]) if found else None
