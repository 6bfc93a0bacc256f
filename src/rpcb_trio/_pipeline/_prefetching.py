"""The task that lets the prefetch follow what the next batches need: it does what `Prefetching` says."""

from __future__ import annotations

from collections.abc import Callable

import trio

from rpcb_trio._batching import Found, Look, Prefetching, Steps
from rpcb_trio._transports import Session


class Follower:
    """Changes a session's consumer as a rule says.

    Args:
        session: what is consumed.
        rule: says what to do, and when.
        passed: called whenever the rule may not hold back a batch any more.
    """

    def __init__(self, session: Session, rule: Prefetching, passed: Callable[[], None]) -> None:
        self._session = session
        self._rule = rule
        self._passed = passed
        self._woken = trio.Event()

    def wake(self) -> None:
        """Something has happened that the rule was told."""
        self._woken.set()

    async def run(self) -> None:
        """Do so until it is cancelled.

        Raises:
            SessionLost: the session is.
        """
        while True:
            self._woken = trio.Event()
            await self._do(self._rule.look(trio.current_time()))
            with trio.move_on_at(self._rule.next_look):
                await self._woken.wait()

    async def _do(self, steps: Steps) -> None:
        found: Found | None = None
        try:
            while True:
                step = steps.send(found)
                begun, found = trio.current_time(), None
                if isinstance(step, Look):
                    facts = await self._session.backlog()
                    found = Found(facts.ready, facts.consumers)
                else:
                    await self._session.reconsume(prefetch=step.prefetch, priority=step.priority)
                now = trio.current_time()
                self._rule.took(step, now - begun, now)
        except StopIteration:
            self._passed()
