"""Times as callers write them: a number, a text or a time stamp, in whichever unit."""

from __future__ import annotations

import math
import re
import struct
from datetime import datetime
from decimal import Decimal

EARLIEST = 1e9
"""UNIX seconds, in 2001: no message was sent before."""

LATEST = 2.0**32 - 1
"""UNIX seconds, in 2106."""

UNITS = (1.0, 1e3, 1e6, 1e9)
"""Seconds, milliseconds, microseconds and nanoseconds. No number is a time in two of them."""

NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?", re.ASCII)
ISO_8601 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{4,20}(?:Z|[+-][0-9:]{4,6})", re.ASCII)
"""Only with an offset: a caller's local time zone is not known."""

SINGLE_DIGITS = 24
LARGEST_SINGLE = 3.4e38
"""Of a float in 32 bits: the binary digits it has, and about the largest that there is."""


def read_number(value: object) -> float | None:
    """A number that is finite and not negative, also as a text or a Decimal; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if 0 <= number < math.inf else None


def read_time(value: object) -> tuple[float, float] | None:
    """A time in UNIX seconds, and its unit as a part of a second; None for what is none from 2001 to 2106."""
    if isinstance(value, str) and ISO_8601.fullmatch(value):
        value = _parsed(value)
    if isinstance(value, datetime):
        value = _seconds_of(value)
    number = read_number(value)
    if number is None:
        return None
    return next(((number / unit, 1 / unit) for unit in UNITS if EARLIEST <= number / unit <= LATEST), None)


def rounding_of(value: object) -> float:
    """How much later than `value`, in its unit, the time may have been that was rounded to it.

    Some libraries (pamqp's among them) write floats in 32 bits, which tell UNIX seconds to 128 only.
    """
    if not isinstance(value, float) or value > LARGEST_SINGLE:
        return 0.0
    (single,) = struct.unpack("f", struct.pack("f", value))
    return math.ldexp(0.5, math.frexp(value)[1] - SINGLE_DIGITS) if single == value else 0.0


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _seconds_of(value: datetime) -> float | None:
    if value.tzinfo is None:
        return None
    try:
        return value.timestamp()
    except (OverflowError, ValueError, OSError):
        return None
