"""When a request expires, by what its caller and the broker wrote on it.

There are two ways to say it, and the earlier deadline holds:

- AMQP's `expiration`: a lifetime. It counts from the earliest time stamp that the message bears, and without
  any from the arrival at the worker; never from later, for a stamp in the future is another machine's clock,
  and must not lengthen a lifetime. The stamps are
    - the header `timestamp_in_ms`: when the broker got the message, by its own clock (the
      rabbitmq_message_timestamp plugin writes it);
    - the property `timestamp`, whole UNIX seconds, written by the caller or the same plugin. The fraction
      was cut off, so it counts as the end of its second: up to 1 s late, and never early.
- the header `rpcb-deadline`: an absolute time. A float that fits into 32 bits counts as the latest it may
  have been before it was rounded to these. Send whole seconds, or 64 bits.

A time is a number of UNIX seconds, milliseconds, microseconds or nanoseconds, as AMQP's numbers, its time
stamps or a text have it, or ISO 8601 with its offset. What is none of these, or lies before 2001 or after
2106, is ignored, with one line in the log. A 0 means that none was set.

Wall clocks are compared once, at the arrival; after that only trio's clock counts. A caller whose clock is
slow shortens its requests' lives by as much, so clocks should be in step, or requests bear no stamps. Where
such a clock shows in what the broker did, one line in the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rpcb_trio._messages import NO_HEADERS, shown_address
from rpcb_trio._shown import shortened
from rpcb_trio._transports._times import read_number, read_time, rounding_of

_log = logging.getLogger(__name__)

DEADLINE_HEADER = "rpcb-deadline"

BROKER_STAMP_HEADER = "timestamp_in_ms"

SENT = "the property timestamp"
BROKER_STAMP = f"the header {BROKER_STAMP_HEADER}"
UNTIL = f"the header {DEADLINE_HEADER}"

SEEN_SKEW = 1.0
"""Seconds: clocks that differ by less are in step."""

LONGEST_VALUE = 60
"""Characters of a value in a line of the log."""


class Deadlines:
    """Reads when a queue's requests expire, and says once of each kind of time what is wrong with it."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._logged = set[str]()

    def read(
        self,
        arrived: float,
        wall: float,
        *,
        lifetime: object = None,
        sent: object = None,
        headers: Mapping[str, object] = NO_HEADERS,
        reply_to: str | None = None,
        redelivered: bool = False,
    ) -> float | None:
        """The request's deadline on trio's clock, in seconds; None if it never expires.

        Args:
            arrived: when it arrived, on trio's clock.
            wall: the same moment in UNIX seconds.
            lifetime: its expiration, in seconds.
            sent: its property `timestamp`.
            headers: its headers.
            reply_to: the caller that a line of the log may name.
            redelivered: whether it was held before, so that it may be older than its lifetime.
        """
        left = list[float]()
        allowed = read_number(lifetime) if isinstance(lifetime, int | float) else None
        by_broker = by_caller = None
        if allowed is not None:
            stamp = headers.get(BROKER_STAMP_HEADER)
            by_broker = self._time(BROKER_STAMP, stamp, takes=int, most_late=0.0)
            by_caller = self._time(SENT, sent, takes=object, most_late=1.0)
            ages = [wall - since for since in (by_broker, by_caller) if since is not None]
            left += [allowed, allowed - max(ages, default=0.0)]
        until = headers.get(DEADLINE_HEADER)
        if until is not None:
            latest = self._time(UNTIL, until, takes=object, most_late=rounding_of(until))
            left += [] if latest is None else [latest - wall]
        if not left:
            return None
        if min(left) <= 0 and not redelivered:
            self._blame_clocks(wall, allowed, by_broker, by_caller, reply_to)
        return arrived + min(left)

    def _time(self, what: str, value: object, *, takes: type, most_late: float) -> float | None:
        """The latest that a time may have been, in UNIX seconds, where it may be later by so many units."""
        if value is None or read_number(value) == 0:
            return None
        found = read_time(value) if isinstance(value, takes) else None
        if found is not None:
            return found[0] + most_late * found[1]
        self._log_once(
            what,
            f"{what} is {shortened(str(value), LONGEST_VALUE)!r}, which is no time from 2001 to 2106; "
            "it is ignored (send UNIX seconds)",
        )
        return None

    def _blame_clocks(
        self,
        wall: float,
        allowed: float | None,
        by_broker: float | None,
        by_caller: float | None,
        reply_to: str | None,
    ) -> None:
        """A broker passes on only what is younger than its expiration: an older one bears a wrong stamp."""
        of_caller = f"the clock of the caller {shown_address(reply_to)}"
        if by_broker is not None and by_caller is not None and by_broker - by_caller > SEEN_SKEW:
            self._log_skew(of_caller, by_broker - by_caller, "the broker's")
        elif allowed is not None and by_broker is not None and wall - by_broker - allowed > SEEN_SKEW:
            self._log_skew("the broker's clock", wall - by_broker - allowed, "this machine's")
        elif allowed is not None and by_caller is not None and wall - by_caller - allowed > SEEN_SKEW:
            self._log_skew(of_caller, wall - by_caller - allowed, "this machine's")

    def _log_skew(self, clock: str, seconds: float, other: str) -> None:
        self._log_once(
            "skew",
            f"{clock} seems to be at least {seconds:.0f} s behind {other}, so that its requests have expired "
            "when they come; set the clocks, or send no time stamps",
        )

    def _log_once(self, kind: str, what: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            _log.warning("queue %s: %s", self._queue, what)
