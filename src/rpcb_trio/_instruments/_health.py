"""The instrument that knows how a worker is: what its readiness rests on."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import trio

from rpcb_trio._errors import BrokerError, ExecutorHung, RpcbError
from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._messages import Batch
from rpcb_trio._shown import shown


class Condition(StrEnum):
    """How a worker is. Only a `consuming` one is ready."""

    WARMING_UP = "warming up"
    """Its models load, or its first session is not open yet."""
    CONSUMING = "consuming"
    BLOCKED = "blocked"
    """The broker takes no replies. What the prefetch allows is computed, and the replies wait."""
    RECONNECTING = "reconnecting"
    HUNG = "hung"
    """An executor does not come back; the worker is about to end."""
    DRAINING = "draining"
    STOPPED = "stopped"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is, since when, and why."""

    worker: str
    condition: Condition
    seconds: float
    """For how long it has been so."""
    reason: str | None = None
    """The broker's own words where it is blocked, the last error where it is reconnecting."""

    @property
    def ready(self) -> bool:
        """Whether it takes requests and can answer them."""
        return self.condition is Condition.CONSUMING

    def __str__(self) -> str:
        why = "" if self.reason is None else f" ({self.reason})"
        return f"{self.worker}: {self.condition}{why}, for {self.seconds:.0f} s"


class HealthInstrument(Instrument):
    """Follows one worker's life; ask it for `health` at any time within its trio run.

    Args:
        name: the worker's name in what is told.
    """

    def __init__(self, name: str = "worker") -> None:
        self._name = name
        self._condition = Condition.WARMING_UP
        self._reason: str | None = None
        self._since: float | None = None

    @property
    def health(self) -> Health:
        """How the worker is now."""
        since = trio.current_time() if self._since is None else self._since
        return Health(
            worker=self._name,
            condition=self._condition,
            seconds=trio.current_time() - since,
            reason=self._reason,
        )

    def changed(self) -> None:
        """Called with each new condition or reason; to be overridden by who wants to tell others."""

    def worker_starting(self, setup: Setup) -> None:  # noqa: ARG002 - only the time counts
        """Warming up from here on."""
        self._since = trio.current_time()

    def session_opened(self, queue: str) -> None:  # noqa: ARG002 - a worker has but one
        """Consuming."""
        self._become(Condition.CONSUMING)

    def session_blocked(self, reason: str) -> None:
        """Blocked, and not ready: a request would be computed, and its reply would wait."""
        self._become(Condition.BLOCKED, reason)

    def session_unblocked(self) -> None:
        """Consuming again."""
        if self._condition is Condition.BLOCKED:
            self._become(Condition.CONSUMING)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - chance
        """Reconnecting."""
        self._become(Condition.RECONNECTING, str(error))

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:  # noqa: ARG002 - chance
        """Still reconnecting, perhaps for another reason."""
        self._become(Condition.RECONNECTING, str(error))

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:  # noqa: ARG002 - it is in the log
        """Hung, and about to end."""
        self._become(Condition.HUNG, str(error))

    def drain_step(self, step: str) -> None:
        """Draining, at this step."""
        self._become(Condition.DRAINING, step)

    def worker_stopped(self, left: int) -> None:
        """Stopped; other workers of the process may still drain."""
        self._become(Condition.STOPPED, f"{left} request(s) left to be redelivered" if left else None)

    def _become(self, condition: Condition, reason: str | None = None) -> None:
        """A new reason for the same condition does not begin it anew; what ends a worker is final."""
        if FINALITY.get(condition, 0) < FINALITY.get(self._condition, 0):
            return
        if condition is not self._condition:
            self._since = trio.current_time()
        self._condition, self._reason = condition, None if reason is None else shown(reason)
        self.changed()


FINALITY = {Condition.DRAINING: 1, Condition.HUNG: 2, Condition.STOPPED: 3}
"""A draining worker whose session is lost, or whose broker is blocked, is still one that drains."""
