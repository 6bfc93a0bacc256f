"""The highest load that is borne: by steps, then by bisection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

PRECISION = 1.05
"""The search ends when the lowest rate that failed is within this factor of the highest that did not."""
LEAST = 1 / 1024
MOST = 1 << 20
"""It leaves off at these multiples of the first rate."""


async def find_highest(meets: Callable[[float], Awaitable[bool]], first: float) -> float | None:
    """The highest rate that `meets`, or None if none does.

    Rates double from `first` until one fails, or halve until one does not, and then the gap is halved (in
    ratio) until it is closed to `PRECISION`.
    """
    good, bad = await _bracket(meets, first)
    if good is None or bad is None:
        return good
    while bad / good > PRECISION:
        middle = (good * bad) ** 0.5
        if await meets(middle):
            good = middle
        else:
            bad = middle
    return good


async def _bracket(
    meets: Callable[[float], Awaitable[bool]], first: float
) -> tuple[float | None, float | None]:
    """The two neighbours among the steps between which it ends."""
    rate = first
    if await meets(rate):
        while rate < MOST * first:
            if not await meets(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, None
    while rate > LEAST * first:
        if await meets(rate / 2):
            return rate / 2, rate
        rate /= 2
    return None, rate
