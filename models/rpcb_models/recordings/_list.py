"""The list of recordings, from `texts.tsv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recording:
    """One clip: a wav file (16 kHz, mono, PCM16) and what is said in it."""

    name: str
    path: Path
    text: str


def recordings() -> list[Recording]:
    """All shipped clips, in the order of their names."""
    with (_HERE / "texts.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Recording(Path(name).stem, _HERE / name, text) for name, text in rows]
