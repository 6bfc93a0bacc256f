"""What a value that is set may be: the same for an argument of `serve`, a flag, a variable and a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

from rpcb_trio.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The smallest and the largest value that a setting takes."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    finite: bool = False

    def fault(self, value: float, shown: Callable[[float], str] = "{:.12g}".format) -> str | None:
        """What is wrong with a value, as the end of an error line; None if nothing is.

        `shown` writes the bounds, with a unit, say.
        """
        if math.isnan(value):
            return "it must be a number"
        if self.least is not None and value < self.least:
            return f"it must be at least {shown(self.least)}"
        if self.above is not None and value <= self.above:
            return f"it must be more than {shown(self.above)}"
        if self.most is not None and value > self.most:
            return f"it must be at most {shown(self.most)}"
        if self.finite and math.isinf(value):
            return "it must be finite"
        return None

    def check(self, setting: str, value: float | None) -> None:
        """Accept None, which says that it is not set.

        Raises:
            SettingError: the value is out of bounds.
        """
        if value is None:
            return
        if not isinstance(value, Real):  # a time as text, say, which only commands read
            raise SettingError(f"{setting} is {value!r}; it must be a number")
        fault = self.fault(value)
        if fault is not None:
            raise SettingError(f"{setting} is {value}; {fault}")


def check_choice(setting: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        SettingError: it is not.
    """
    if value not in choices:
        raise SettingError(f"{setting} is {value!r}; set it to {', '.join(choices[:-1])} or {choices[-1]}")


ANY = Bounds()
COUNT = Bounds(least=1)
POSITIVE = Bounds(above=0)
NOT_NEGATIVE = Bounds(least=0)
FINITE = Bounds(above=0, finite=True)
FINITE_OR_0 = Bounds(least=0, finite=True)
