"""What a QuartzNet is told, checked without loading anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rpcb_trio import SettingError

FEATURES: Final = ("3.0", "1.2")
PRECISIONS: Final = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Path
    lm: Path | None
    lm_weight: float
    word_bonus: float
    beam_width: int
    device: str
    threads: int
    features: str
    precision: str

    def __post_init__(self) -> None:
        _refuse_unless(self.features in FEATURES, "features", self.features, " or ".join(FEATURES))
        _refuse_unless(self.precision in PRECISIONS, "precision", self.precision, ", ".join(PRECISIONS))
        _refuse_unless(self.threads >= 1, "threads", self.threads, "1 or more")
        _refuse_unless(self.beam_width >= 1, "beam_width", self.beam_width, "1 or more")


def _refuse_unless(right: bool, name: str, value: object, choice: str) -> None:  # noqa: FBT001 (it is the condition)
    if not right:
        raise SettingError(f"{name} is {value}; give {choice}")
