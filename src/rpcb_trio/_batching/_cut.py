"""Taking many out of a sorted list at once."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, TypeVar

SortableT = TypeVar("SortableT", bound=Any)


def cut(kept: list[SortableT], leaving: list[SortableT]) -> None:
    """Take those who leave, at least one, out of those who are kept in order; nobody stands there twice.

    Those who leave together are mostly neighbours; then the many after them are moved only once.
    """
    leaving.sort()
    start = bisect_left(kept, leaving[0])
    end = start + len(leaving)
    if kept[end - 1 : end] == leaving[-1:]:
        del kept[start:end]
        return
    for each in leaving:
        del kept[bisect_left(kept, each)]
