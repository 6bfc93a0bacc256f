"""When a request expires, by what its producer and its broker wrote on it.

There are two ways to say it, and the earlier deadline holds:

- AMQP's `expiration`: a lifetime. It counts from the earliest time stamp that the message bears, and without
  any from the arrival at the worker; never from later, for a stamp in the future is another machine's clock,
  and must not lengthen a lifetime. The stamps are
    - the header `timestamp_in_ms`, UNIX milliseconds: when the broker got the message, by its own clock (the
      rabbitmq_message_timestamp plugin writes it);
    - the property `timestamp`, whole UNIX seconds, written by the producer or the same plugin. The fraction
      was cut off, so it counts as the end of its second: up to 1 s late, and never early.
- the header `rpcb-deadline`: an absolute time, UNIX seconds, whole or not. Some producers' libraries (pamqp's
  among them) write a float in 32 bits, which tell such a time to 128 s only; one that fits into these counts
  as the latest it may have been, so that it is not early either. Send whole seconds, or 64 bits.

What is none of these (a text, a bool, a Decimal, NaN, a time before 1970) is as if it were not there. So is a
property `timestamp` before 2001: it is from a clock that was never set. One past 2106 counts as milliseconds,
which some producers write there. Wall clocks are compared once, at the arrival; after that only trio's clock
counts. A producer whose clock is slow shortens its requests' lives by as much, so clocks should be in step,
or requests bear no stamps.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

from rpcb_trio._messages import NO_HEADERS

DEADLINE_HEADER = "rpcb-deadline"

BROKER_STAMP_HEADER = "timestamp_in_ms"

EARLIEST = 1e9
"""UNIX seconds: no message was sent before."""

LATEST = 2**32 - 1
"""UNIX seconds: what is more is in milliseconds."""

SINGLE_DIGITS = 24
LARGEST_SINGLE = 3.4e38
"""Of a float in 32 bits: the binary digits it has, and about the largest that there is."""


def read_deadline(
    arrived: float,
    wall: float,
    *,
    lifetime: object = None,
    sent: object = None,
    headers: Mapping[str, object] = NO_HEADERS,
) -> float | None:
    """The request's deadline on trio's clock, in seconds; None if it never expires.

    Args:
        arrived: when it arrived, on trio's clock.
        wall: the same moment in UNIX seconds.
        lifetime: its expiration, in seconds.
        sent: its property `timestamp`, in UNIX seconds.
        headers: its headers.
    """
    left = []
    allowed = _number(lifetime)
    if allowed is not None:
        left.append(allowed - max((wall - stamp for stamp in _stamps(sent, headers)), default=0.0))
        left.append(allowed)
    until = _time(headers.get(DEADLINE_HEADER))
    if until is not None:
        left.append(until + _rounding(headers[DEADLINE_HEADER]) - wall)
    return arrived + min(left) if left else None


def _stamps(sent: object, headers: Mapping[str, object]) -> Iterator[float]:
    """Since when a lifetime counts, in UNIX seconds."""
    stamp = headers.get(BROKER_STAMP_HEADER)
    milliseconds = _time(stamp) if isinstance(stamp, int) else None
    if milliseconds is not None:
        yield milliseconds / 1000
    second = _time(sent)
    if second is not None and second > LATEST:
        second /= 1000
    if second is not None and second >= EARLIEST:
        yield math.floor(second) + 1.0


def _time(value: object) -> float | None:
    """A number as a time; who writes 0 has set none."""
    return _number(value) or None


def _rounding(value: object) -> float:
    """How much later than `value` the time may have been that was rounded to it."""
    if not isinstance(value, float) or value > LARGEST_SINGLE:
        return 0.0
    (single,) = struct.unpack("f", struct.pack("f", value))
    return math.ldexp(0.5, math.frexp(value)[1] - SINGLE_DIGITS) if single == value else 0.0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < math.inf else None
