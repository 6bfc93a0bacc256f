"""What the pipeline asks of an executor, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


class Executor(Protocol):
    """One place that computes one batch at a time. It outlives sessions: its model stays loaded."""

    async def warm_up(self) -> None:
        """Load the model and run it once; awaited before the first delivery.

        Raises:
            SettingError, WarmUpFailed: it could not be.
        """
        ...

    async def idle(self) -> None:
        """Wait until nothing is being computed, work that a cancelled `infer` left behind included.

        Raises:
            ExecutorHung: it never will be; the worker ends.
        """
        ...

    async def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch and return one outcome for each item, or what the service's `infer` returned.

        Raises any `Exception` where the batch failed as a whole. Cancelled, it returns at once, and the
        result is dropped.

        Raises:
            ExecutorHung: it takes too long, and can't be stopped; the worker ends.
        """
        ...


@runtime_checkable
class Closable(Protocol):
    """What an executor may have besides, so that its model can leave the memory (see `Worker.swap`)."""

    @property
    def frees(self) -> bool:
        """Whether `aclose` frees what `warm_up` has loaded."""
        ...

    async def aclose(self) -> None:
        """Free what it has, once nothing is computed there; `warm_up` may be awaited again."""
        ...
