"""What `tune` asks on a terminal. An empty answer says that there is none of the kind."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.prompt import FloatPrompt, IntPrompt

from rpcb_trio._measure import Demand, Objective


def ask_demand() -> Demand:
    rate = _ask(FloatPrompt, "Requests per second at random times (Enter: none)")
    return Demand(rate, _ask(IntPrompt, "Callers in lock step (Enter: none)"))


def ask_objective() -> Objective:
    return Objective(p99=_ask(FloatPrompt, "p99 latency not to exceed, in seconds (Enter: none)"))


def _ask(kind: Any, text: str) -> Any:
    console = Console(stderr=True)
    try:
        while True:
            number = kind.ask(text, console=console, default=None, show_default=False)
            if number is None or 0 < number < math.inf:
                return number
            console.print("Please enter a number above 0", style="prompt.invalid")
    except EOFError:
        return None
