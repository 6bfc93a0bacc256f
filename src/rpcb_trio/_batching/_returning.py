"""Which callers come back, and how soon, once they are answered.

Callers in lock step send their next request when they have the last reply. An executor that starts as soon as
it is idle divides them for ever: while one group is computed the other gathers. To hold for them, a policy
must know that they will come.

For each caller (`reply_to`) it is learned how many of its requests were answered, how many came back within a
horizon after that, and how many came at other times. What it sends all the time does not count (a
gateway's one address carries many users), so it is taken off:

    share = (returned - rate outside the horizon * time within it) / (answered + doubt)

Callers that are seen only once, with a new address for each request, are counted together as one.
How soon one comes back is learned as TCP learns its round trip (RFC 6298): a smoothed mean, a smoothed
deviation. It is awaited for the mean and some deviations, more than TCP takes, since a caller that is not
waited for is out of step for a whole service time, and one that has left costs the wait only once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

import msgspec

MEMORY: Final = 0.85
"""What of a caller's past still counts after each further batch that held it."""
BELIEVED: Final = 0.5
"""A caller is awaited if at least this share of its answers is followed by a request: more often than not."""
LITTLE: Final = 3.0
"""So few answers say nothing yet of a caller."""
DOUBT: Final = 1.5
"""So many answers that nothing followed are taken for granted: to come back once may be chance."""
DEVIATIONS: Final = 8
"""A caller is awaited until so many deviations after the mean."""
GRACE: Final = 1 / 16
"""Of the horizon; a caller has at least so much after the mean, however punctual it was."""
MOST_CALLERS: Final = 4096
"""Those not seen for the longest time are forgotten."""
LATELY: Final = 8
"""So many completed batches are still awaited at most; there are more than one with several executors."""

NEW_CALLERS: Final = object()
"""Stands for all callers that are not known yet."""


class Expected(msgspec.Struct, frozen=True):
    """What is still on the way back. Times in seconds."""

    count: float
    """How many requests, as an expectation."""
    within: float
    """How long they still take, typically."""
    until: float
    """When they are awaited no longer."""


NONE_EXPECTED: Final = Expected(0.0, 0.0, 0.0)


class _Caller:
    """What is known of one caller, in discounted counts and seconds."""

    __slots__ = ("answered", "delay", "deviation", "elsewhere", "inside", "outside", "returned", "since")

    def __init__(self, now: float) -> None:
        self.answered = self.returned = self.elsewhere = self.inside = self.outside = 0.0
        self.delay = self.deviation = 0.0
        self.since = now

    @property
    def share(self) -> float:
        """How many of its answered requests are followed by a next one within the horizon."""
        rate = self.elsewhere / self.outside if self.outside > 0 else 0.0
        return min(1.0, max(0.0, self.returned - rate * self.inside) / (self.answered + DOUBT))

    def timeout(self, horizon: float) -> float:
        """How long after its answer it is awaited."""
        return min(horizon, self.delay + max(DEVIATIONS * self.deviation, GRACE * horizon))

    def left(self, elapsed: float) -> float:
        """How long it still takes, so long after its answer."""
        return max(self.delay - elapsed, self.deviation)

    def close_round(self, now: float, horizon: float) -> None:
        """Enter the time since its last batch, and let the past fade."""
        gap = now - self.since
        within = min(gap, horizon)
        self.inside = MEMORY * (self.inside + within)
        self.outside = MEMORY * (self.outside + gap - within)
        self.answered *= MEMORY
        self.returned *= MEMORY
        self.elsewhere *= MEMORY
        self.since = now

    def came_back(self, delay: float) -> None:
        if self.returned == 0:
            self.delay, self.deviation = delay, delay / 2
        else:
            self.deviation += (abs(delay - self.delay) - self.deviation) / 4
            self.delay += (delay - self.delay) / 8
        self.returned += 1


class _Round:
    """One completed batch, and the callers whose next request has not come yet."""

    __slots__ = ("awaited", "completed", "horizon", "until")

    def __init__(self, completed: float, horizon: float, awaited: dict[object, int]) -> None:
        self.completed = completed
        self.horizon = horizon
        self.until = completed + horizon
        self.awaited = awaited
        """How many requests, by caller; at least one each."""

    def is_followed_by(self, name: object) -> bool:
        """Whether that one was awaited; if so, it is awaited once less from now on."""
        count = self.awaited.get(name, 0)
        if count > 1:
            self.awaited[name] = count - 1
        elif count:
            del self.awaited[name]
        return count > 0


class ReturningCallers:
    """Learns which callers return; tells how many are on their way."""

    def __init__(self) -> None:
        self._callers: OrderedDict[object, _Caller] = OrderedDict()
        self._rounds: deque[_Round] = deque(maxlen=LATELY)

    def completed(self, callers: Iterable[object], now: float, horizon: float) -> None:
        """Learn which callers are answered now. One that sends within `horizon` seconds has returned."""
        awaited: dict[object, int] = {}
        for caller in callers:
            awaited[caller] = awaited.get(caller, 0) + 1
        new = 0
        for caller, count in awaited.items():
            new += count if caller not in self._callers else 0
            self._enter(caller, count, now, horizon)
        if new:
            self._enter(NEW_CALLERS, new, now, horizon)
            awaited[NEW_CALLERS] = new
        while self._rounds and self._rounds[0].until < now:
            self._rounds.popleft()  # arrivals told from now on are later than that
        self._rounds.append(_Round(now, horizon, awaited))
        while len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)

    def arrived(self, caller: object, at: float) -> None:
        """Learn that one has sent a request, at a time in seconds."""
        known = self._callers.get(caller)
        if known is None:
            caller = NEW_CALLERS
            known = self._callers.get(caller)
            if known is None:
                return
        for each in self._rounds:
            if each.completed <= at <= each.until and each.is_followed_by(caller):
                known.came_back(at - each.completed)
                return
        known.elsewhere += 1

    def returning(self, callers: Iterable[object]) -> float:
        """How many of these may come back once they are answered: all but those that are known not to."""
        unknown = self._callers.get(NEW_CALLERS)
        known = (self._callers.get(each, unknown) for each in callers)
        return sum(
            1.0 if caller is None or caller.answered < LITTLE else caller.share
            for caller in known
            if caller is None or caller.answered < LITTLE or caller.share >= BELIEVED
        )

    def expected(self, now: float) -> Expected:
        """What is still on the way back at `now`."""
        count = within = until = 0.0
        for each in self._rounds:
            if now >= each.until:
                continue
            for name, awaited in each.awaited.items():
                caller = self._callers.get(name)
                if caller is None or (share := caller.share) < BELIEVED:
                    continue
                end = each.completed + caller.timeout(each.horizon)
                if now < end:
                    count += awaited * share
                    within = max(within, caller.left(now - each.completed))
                    until = max(until, end)
        return Expected(count, within, until) if count else NONE_EXPECTED

    def _enter(self, name: object, count: int, now: float, horizon: float) -> None:
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller(now)
        else:
            caller.close_round(now, horizon)
            self._callers.move_to_end(name)
        caller.answered += count
