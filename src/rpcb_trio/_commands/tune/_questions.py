"""What `tune` asks on a terminal."""

from __future__ import annotations

from typing import Any, TypeVar

from rich.console import Console
from rich.prompt import FloatPrompt, IntPrompt, InvalidResponse

from rpcb_trio._measure import Demand, Objective

NumberT = TypeVar("NumberT", int, float)


def ask_demand() -> Demand:
    """Ask what load is expected; an empty answer says that there is none of the kind."""
    rate = _ask(_PositiveFloat, "Requests per second at random times (Enter: none)")
    callers = _ask(_PositiveInt, "Callers in lock step (Enter: none)")
    return Demand(rate, callers)


def ask_objective() -> Objective:
    """Ask what is wanted of the answers; an empty answer wants them as soon as can be."""
    return Objective(p99=_ask(_PositiveFloat, "p99 latency not to exceed, in seconds (Enter: none)"))


class _PositiveFloat(FloatPrompt):
    def process_response(self, value: str) -> float:
        return _positive(super().process_response(value))


class _PositiveInt(IntPrompt):
    def process_response(self, value: str) -> int:
        return _positive(super().process_response(value))


def _positive(number: NumberT) -> NumberT:
    if not 0 < number < float("inf"):
        raise InvalidResponse("[prompt.invalid]Please enter a number above 0")
    return number


def _ask(kind: Any, text: str) -> Any:
    try:
        return kind.ask(text, console=Console(stderr=True), default=None, show_default=False)
    except EOFError:
        return None
