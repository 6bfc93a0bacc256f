"""The times of spans: the time of day is read once for each span or batch; then a monotonic clock counts."""

from __future__ import annotations

from time import monotonic, time
from typing import Self

NANOSECONDS = 1_000_000_000


class Clock:
    """Maps a clock that only goes forward to the time of day, as that is now.

    So a span keeps its right length when the time of day is set meanwhile.

    Args:
        now: what that clock says now, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._epoch = round(NANOSECONDS * time()) - round(NANOSECONDS * now)

    @classmethod
    def of_system(cls) -> Self:
        """That of the system; `now_ns` goes with it."""
        return cls(monotonic())

    def ns(self, at: float) -> int:
        """Nanoseconds since 1970 of a moment on that clock."""
        return self._epoch + round(NANOSECONDS * at)

    def now_ns(self) -> int:
        """As `ns`, of this moment on the system's clock."""
        return self.ns(monotonic())
