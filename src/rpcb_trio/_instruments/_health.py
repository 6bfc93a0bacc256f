"""The instrument that knows the condition of a worker, which decides whether it is ready."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import trio

from rpcb_trio._instruments._instrument import Instrument, Setup
from rpcb_trio._messages import Batch
from rpcb_trio._shown import shown
from rpcb_trio.errors import BrokerError, ExecutorHung, RpcbError


class Condition(StrEnum):
    """The condition of a worker. It is ready only while it is `consuming`."""

    WARMING_UP = "warming up"
    """The models load, or the first session is not open yet."""
    CONSUMING = "consuming"
    BLOCKED = "blocked"
    """The broker takes no replies. What the prefetch allows is computed, and its replies wait."""
    RECONNECTING = "reconnecting"
    HUNG = "hung"
    """An executor does not return; the worker is about to end."""
    DRAINING = "draining"
    STOPPED = "stopped"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The condition of a worker, for how long it lasts, and the reason."""

    worker: str
    condition: Condition
    seconds: float
    """For how long the worker has been in this condition."""
    reason: str | None = None
    """The broker's own text where it is blocked, the last error where it is reconnecting."""

    @property
    def ready(self) -> bool:
        """Whether the worker takes requests and can answer them."""
        return self.condition is Condition.CONSUMING

    def __str__(self) -> str:
        why = "" if self.reason is None else f" ({self.reason})"
        return f"{self.worker} {self.condition}{why} for {self.seconds:.0f} s"


class HealthInstrument(Instrument):
    """Follows one worker; read `health` at any time within its trio run.

    Args:
        name: the worker's name, for `Health.worker`.
    """

    def __init__(self, name: str = "worker") -> None:
        self._name = name
        self._condition = Condition.WARMING_UP
        self._reason: str | None = None
        self._since: float | None = None

    @property
    def health(self) -> Health:
        since = trio.current_time() if self._since is None else self._since
        return Health(
            worker=self._name,
            condition=self._condition,
            seconds=trio.current_time() - since,
            reason=self._reason,
        )

    def changed(self) -> None:
        """Called with each new condition or reason; a subclass may override it to publish `health`."""

    def worker_starting(self, setup: Setup) -> None:  # noqa: ARG002 - the hook's arguments
        self._since = trio.current_time()

    def session_opened(self, queue: str) -> None:  # noqa: ARG002 - the hook's arguments
        self._become(Condition.CONSUMING)

    def session_blocked(self, reason: str) -> None:
        self._become(Condition.BLOCKED, reason)

    def session_unblocked(self) -> None:
        if self._condition is Condition.BLOCKED:
            self._become(Condition.CONSUMING)

    def session_lost(self, error: BrokerError, retry_in: float) -> None:  # noqa: ARG002 - the hook's arguments
        self._become(Condition.RECONNECTING, str(error))

    def reconnect_failed(self, error: RpcbError, retry_in: float, attempts: int) -> None:  # noqa: ARG002 - the hook's arguments
        self._become(Condition.RECONNECTING, str(error))

    def executor_hung(self, error: ExecutorHung, batch: Batch | None) -> None:  # noqa: ARG002 - the hook's arguments
        self._become(Condition.HUNG, str(error))

    def drain_step(self, step: str) -> None:
        self._become(Condition.DRAINING, step)

    def worker_stopped(self, left: int) -> None:
        self._become(Condition.STOPPED, f"{left} request(s) left to be redelivered" if left else None)

    def _become(self, condition: Condition, reason: str | None = None) -> None:
        """Take on a condition; a new reason for the same one does not restart its `seconds`."""
        if FINALITY.get(condition, 0) < FINALITY.get(self._condition, 0):
            return
        if condition is not self._condition:
            self._since = trio.current_time()
        self._condition, self._reason = condition, None if reason is None else shown(reason)
        self.changed()


FINALITY = {Condition.DRAINING: 1, Condition.HUNG: 2, Condition.STOPPED: 3}
"""A condition never gives way to one of a lower rank: a draining worker without a session still drains."""
