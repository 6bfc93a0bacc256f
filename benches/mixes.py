"""Mixes of clips as producers may send them, the same every time, and what policies make of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Final, Literal, get_args

import msgspec
import numpy as np

from benches.report import Spread
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wire import AudioRequest

Mix = Literal["all", "short", "long", "halves", "one long", "log-normal"]

MIXES: Final = get_args(Mix)
FEW: Final = 8
"""How many of the recordings are the short ones, and how many the long ones."""
SHORT_TO_ONE_LONG: Final = 15
MEDIAN_SECONDS: Final = 4.0
SIGMA: Final = 0.7
LEAST_SECONDS, MOST_SECONDS = 0.5, 24.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy made of one mix."""

    mix: Mix
    policy: str
    ms_per_second: Spread
    """CPU time for each second of audio, by round."""
    ratio_to_one: Spread
    """How many times cheaper than one by one, in the same round."""
    batch_size: float
    """The mean."""
    real_to_predicted: Spread | None
    """Service time of a batch over what its policy foresaw, by batch; None where that foresees nothing."""


def lengths_of(clips: Sequence[Samples]) -> tuple[float, float, float]:
    """The shortest, the mean and the longest of clips, in seconds."""
    seconds = [len(clip) / SAMPLE_RATE for clip in clips]
    return min(seconds), sum(seconds) / len(seconds), max(seconds)


def clips_of(mix: Mix, count: int, seed: int) -> list[Samples]:
    """So many clips of a mix, in the order in which they are sent; float32 [T], 16 kHz, mono."""
    order = random.Random(seed)  # noqa: S311 (an order, no secret)
    read = _read()
    by_length = sorted(read, key=len)
    short, long = by_length[:FEW], by_length[-FEW:]
    match mix:
        case "all":
            return _dealt(read, count, order)
        case "short":
            return _dealt(short, count, order)
        case "long":
            return _dealt(long, count, order)
        case "halves":
            return _dealt([*short, *long], count, order)
        case "one long":
            many = _dealt(short, count, order)
            many[FEW :: SHORT_TO_ONE_LONG + 1] = [by_length[-1]] * len(many[FEW :: SHORT_TO_ONE_LONG + 1])
            return many
        case "log-normal":
            return [
                np.resize(clip, round(_log_normal(order) * SAMPLE_RATE))
                for clip in _dealt(read, count, order)
            ]


def bodies_of(clips: Sequence[Samples]) -> list[bytes]:
    """Their requests on the producers' wire."""
    return [msgspec.msgpack.encode(AudioRequest(wav_bytes(clip), "wav")) for clip in clips]


@cache
def _read() -> tuple[Samples, ...]:
    return tuple(read_audio(recording.path.read_bytes()) for recording in recordings())


def _dealt(clips: Sequence[Samples], count: int, order: random.Random) -> list[Samples]:
    """All of them shuffled, then all of them again, shuffled anew."""
    dealt: list[Samples] = []
    while len(dealt) < count:
        dealt += order.sample(clips, len(clips))
    return dealt[:count]


def _log_normal(order: random.Random) -> float:
    return min(max(MEDIAN_SECONDS * order.lognormvariate(0, SIGMA), LEAST_SECONDS), MOST_SECONDS)
