"""Which requests a producer sends."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Set as AbstractSet

from benches.soak.bodies import Kind

WEIGHTS = {
    Kind.PLAIN: 700,
    Kind.BARE: 100,
    Kind.EXPIRING: 100,
    Kind.POISON: 40,
    Kind.GARBLED: 30,
    Kind.FORGED: 6,
    Kind.FULL: 20,
}
"""How often each kind comes; those that are not here come only when they are asked for."""
SHORTEST_LIFE, LONGEST_LIFE = 0.02, 2.0
"""Seconds."""


class Mix:
    """A random mix of some kinds of requests."""

    def __init__(self, seed: int, without: AbstractSet[Kind]) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - not a secret
        self._kinds = [kind for kind in WEIGHTS if kind not in without]
        self._asked_for: deque[Kind] = deque()
        self.is_quiet = True
        """Whether nothing is wrong with any request."""
        self._weights = [WEIGHTS[kind] for kind in self._kinds]

    def begin(self) -> None:
        """Send all kinds from now on, and the rare ones at least once."""
        self.is_quiet = False
        self._asked_for.extend(kind for kind in (Kind.FORGED, Kind.FULL) if kind in self._kinds)

    def ask_for(self, kind: Kind) -> None:
        """Let the next request be of this kind."""
        self._asked_for.append(kind)

    def kind(self) -> Kind:
        """The kind of the next request."""
        if self.is_quiet:
            return Kind.PLAIN
        if self._asked_for:
            return self._asked_for.popleft()
        return self._dice.choices(self._kinds, self._weights)[0]

    def lifetime(self) -> float:
        """How long the next request lives, in seconds, if it is to expire."""
        return self._dice.uniform(SHORTEST_LIFE, LONGEST_LIFE)
