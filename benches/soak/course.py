"""How far a soak has come. All parts of it look here, from threads too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    START = "starting"
    QUIET = "no faults yet"
    STORM = "storm"
    CALM = "calm"
    DRAIN = "draining"
    OVER = "over"


@dataclass
class Course:
    """The phase that a soak is in."""

    phase: Phase = Phase.START

    @property
    def is_sending(self) -> bool:
        return self.phase in (Phase.START, Phase.QUIET, Phase.STORM)

    @property
    def is_over(self) -> bool:
        """Whether nobody need listen any more."""
        return self.phase is Phase.OVER
