"""What the pipeline asks of an executor, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from rpcb_trio._parts import Happened


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


class Sink(Protocol):
    """What an executor gives the steps of a stream to."""

    def begin(self) -> None:
        """The batch is computed from its beginning; parts that were given before come again."""
        ...

    async def take(self, steps: Sequence[Happened]) -> Collection[int]:
        """Take steps, in order; returns the numbers of all items that nobody wants any more.

        It waits as long as the callers take nothing.
        """
        ...


class DiedTogether(Exception):
    """The process died over a batch of several, each of which is to be computed alone."""


@runtime_checkable
class Streaming(Protocol):
    """What an executor may have besides, so that replies go out in parts."""

    async def stream(self, items: Sequence[Any], whole: Collection[int], sink: Sink) -> None:
        """Compute a batch by the service's `stream_infer`, and give each step to `sink`.

        The items in `whole` have no parts: what comes is their result. It raises as `infer` does.

        Raises:
            DiedTogether: each item is to be computed alone.
        """
        ...
