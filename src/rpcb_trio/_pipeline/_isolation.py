"""Compute a batch so that a bad item spoils nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpcb_trio._errors import InferError, OutcomeError, WrongResultCount
from rpcb_trio._executors import Executor
from rpcb_trio._messages import Failure, Outcome, Success
from rpcb_trio._pipeline._codec import caused


async def infer_isolated(executor: Executor, items: Sequence[Any]) -> list[Outcome[Any]]:
    """Compute `items`; where a batch fails as a whole, split it until each culprit stands alone.

    One culprit among n costs about 2*log2(n) further runs; if all fail, 2*n - 1 runs in all.
    """
    try:
        results = _one_each(await executor.infer(items), len(items))
    except Exception as error:  # noqa: BLE001 - what the model raises is the model's business
        if len(items) == 1:
            return [Failure(_as_outcome_error(error))]
        middle = len(items) // 2
        return [
            *await infer_isolated(executor, items[:middle]),
            *await infer_isolated(executor, items[middle:]),
        ]
    return [
        Failure(_as_outcome_error(each)) if isinstance(each, Exception) else Success(each) for each in results
    ]


def _one_each(results: Any, expected: int) -> Sequence[Any]:
    """Accept a list, a tuple, an array, a tensor: what has a length and can be indexed by position."""
    is_listing = hasattr(results, "__len__") and hasattr(results, "__getitem__")
    if not is_listing or isinstance(results, (bytes, bytearray, str, Mapping)):
        raise WrongResultCount(f"infer must return one result for each item, not {type(results).__name__}")
    if len(results) != expected:
        raise WrongResultCount(f"infer returned {len(results)} result(s) for {expected} item(s)")
    return list(results)


def _as_outcome_error(error: Exception) -> OutcomeError:
    if isinstance(error, OutcomeError):
        return error
    return caused(InferError(f"infer failed: {type(error).__name__}"), error)
