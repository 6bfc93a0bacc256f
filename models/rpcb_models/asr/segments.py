"""A clip in segments to recognise: where somebody speaks, without long pauses, none longer than a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rpcb_models.audio import SAMPLE_RATE, Samples, split_in_pauses

LONGEST: Final = 16.0
"""Seconds of a segment, at most."""

_FULL_SCALE = 2**15
_MARGIN = 0.4  # seconds kept before and behind speech; with 0.2 a few words in 1,000 are misheard
_PAUSE = 3.0  # seconds; shorter ones stay, for what is said before helps to hear what follows
_LEAST, _SURE = 0.6, 0.9  # below the first it is no speech; between them are 1 word in 100, and odd sounds


@dataclass(frozen=True)
class Stretch:
    """Where somebody speaks, in samples."""

    start: int
    stop: int
    probability: float
    """Of speech: the largest within it."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A part of a clip, held in half of the memory that its samples take while they are worked on."""

    start: int
    """In samples, from the clip's beginning."""
    pcm: npt.NDArray[np.int16]
    sure: bool = True
    """Whether there is no doubt that somebody speaks."""

    @property
    def samples(self) -> Samples:
        """Float32 [T], mono, 16 kHz; made anew each time."""
        return self.pcm.astype(np.float32) / np.float32(_FULL_SCALE)

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.pcm) / SAMPLE_RATE


def whole(clip: Samples) -> list[Segment]:
    """All of a clip, cut where it is quietest if it is long."""
    return _cut(clip, 0, len(clip), sure=True)


def spoken(clip: Samples, speech: Sequence[Stretch]) -> list[Segment]:
    """What is spoken in a clip, with a margin, and with the pauses that are short.

    A stretch that is hardly like speech, with nothing better near it, is left out.
    """
    margin = round(_MARGIN * SAMPLE_RATE)
    return [
        segment
        for group in _between_pauses(speech)
        if _best(group) >= _LEAST
        for segment in _cut(
            clip,
            max(group[0].start - margin, 0),
            min(group[-1].stop + margin, len(clip)),
            sure=_best(group) >= _SURE,
        )
    ]


def _best(group: Sequence[Stretch]) -> float:
    return max(each.probability for each in group)


def _between_pauses(speech: Sequence[Stretch]) -> list[list[Stretch]]:
    groups: list[list[Stretch]] = []
    for stretch in speech:
        if groups and stretch.start - groups[-1][-1].stop <= _PAUSE * SAMPLE_RATE:
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    return groups


def _cut(clip: Samples, start: int, stop: int, *, sure: bool) -> list[Segment]:
    found = []
    for piece in split_in_pauses(clip[start:stop], LONGEST):
        found.append(Segment(start, _pcm(piece), sure))
        start += len(piece)
    return found


def _pcm(samples: Samples) -> npt.NDArray[np.int16]:
    whole_numbers = np.rint(samples * np.float32(_FULL_SCALE)).clip(-_FULL_SCALE, _FULL_SCALE - 1)
    pcm: npt.NDArray[np.int16] = whole_numbers.astype(np.int16)
    return pcm
