"""Decoded frames of any rate and layout -> float32, mono, 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soxr

from rpcb_models.decoding._refusal import unparseable, unsupported
from rpcb_models.decoding.protocol import BLOCK_SECONDS, SAMPLE_RATE

Samples: TypeAlias = "npt.NDArray[np.float32]"

_RATES = range(4_000, 384_001)
_MAX_CHANNELS = 32
_MANY_CHANNELS: Final = 8
_BLOCK: Final = 4_096  # samples a channel that are converted at once
_CANCELLED: Final = 0.1  # of the energy that channels which have nothing in common would leave
_MOST_CANCELLED: Final = 0.01  # share of a window's energy
_WINDOW: Final = 2**20  # values of all channels; of two at 48 kHz 11 s
_READY: Final = BLOCK_SECONDS * SAMPLE_RATE
_SCALES: Final = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "flt": 1.0, "dbl": 1.0}


class Converter:
    """Takes one recording's frames in their order and counts their seconds.

    Args:
        max_seconds: How much may be fed.
    """

    def __init__(self, max_seconds: float) -> None:
        self.seconds = 0.0
        self._max_seconds = max_seconds
        self._part: _Part | None = None
        self._pieces: list[Samples] = []
        self._count = 0

    def feed(self, frame: av.AudioFrame) -> None:
        """Take a frame. Its rate, channels and sample format may be others than those before it.

        Raises:
            Refusal: they are no recorder's, or it is too much.
        """
        if self._part is None or self._part.kind != _kind(frame):
            self.finish()
            self._part = _Part(frame)
        self.seconds += frame.samples / frame.sample_rate
        if self.seconds > self._max_seconds:
            raise unparseable(f"the audio is longer than the {self._max_seconds:g} s allowed")
        if self._part.add(frame) >= _BLOCK:
            self._take(self._part.converted())

    def finish(self) -> None:
        """Convert all that was fed; what is fed after that is a part of its own."""
        if self._part is not None:
            self._take(self._part.end())
            self._part = None

    def ready(self, *, final: bool = False) -> Iterator[Samples]:
        """The samples that are converted, in blocks of `BLOCK_SECONDS`; in the end, all of them."""
        if self._count < _READY and not final:
            return
        samples = np.concatenate(self._pieces)
        whole = len(samples) if final else len(samples) // _READY * _READY
        self._pieces, self._count = [samples[whole:]], len(samples) - whole
        for start in range(0, max(whole, 1), _READY):
            yield samples[start : min(start + _READY, whole)]

    def _take(self, pieces: list[Samples]) -> None:
        self._pieces += pieces
        self._count += sum(map(len, pieces))


class _Part:
    """Frames of one kind that follow one another."""

    def __init__(self, first: av.AudioFrame) -> None:
        self.kind = _kind(first)
        rate, channels = first.sample_rate, first.layout.nb_channels
        if rate not in _RATES or not 0 < channels <= _MAX_CHANNELS:
            raise unsupported(f"{channels} channels at {rate} Hz are not supported")
        self._channels = channels
        self._format = first.format.packed.name
        self._interleaver: av.AudioResampler | None = None
        # PyAV 18 crashes on the planes of a frame that has eight or more of them.
        if self._format not in _SCALES or (first.format.is_planar and channels >= _MANY_CHANNELS):
            self._interleaver = av.AudioResampler("flt", first.layout, rate)
            self._format = "flt"
        self._resampler: soxr.ResampleStream | None = None
        if rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._waiting: list[npt.NDArray[np.generic]] = []
        self._count = 0
        self._window: list[Samples] = []

    def add(self, frame: av.AudioFrame) -> int:
        """Take a frame, and tell how many samples a channel are waiting."""
        for each in self._interleaver.resample(frame) if self._interleaver else (frame,):
            stored = each.to_ndarray()
            self._waiting.append(stored if each.format.is_planar else stored.reshape(-1, self._channels).T)
        self._count += frame.samples
        return self._count

    def converted(self) -> list[Samples]:
        """What was added, as far as it can be told yet: one channel, 16 kHz."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is no finite number is found at the end
            values = self._taken()
            if self._channels == 1:
                return [self._resampled(values[0])]
            self._window.append(values)
            if sum(each.size for each in self._window) < _WINDOW:
                return []
            return self._mixed()

    def end(self) -> list[Samples]:
        """The rest; nothing can be added any more."""
        pieces = self.converted()
        with np.errstate(invalid="ignore", over="ignore"):
            pieces += self._mixed()
        if self._resampler is not None:
            pieces.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return pieces

    def _taken(self) -> Samples:
        """What is waiting: float32 [channels, T]."""
        waiting, self._waiting, self._count = self._waiting, [], 0
        if not waiting:
            return np.zeros((self._channels, 0), np.float32)
        stored = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, axis=1)
        values = stored.astype(np.float32, order="C")
        if self._format == "u8":
            values -= 128
        return values * np.float32(_SCALES[self._format])

    def _mixed(self) -> list[Samples]:
        window, self._window = self._window, []
        return [self._resampled(each) for each in _one_channel(window)]

    def _resampled(self, mono: Samples) -> Samples:
        resampled: Samples = self._resampler.resample_chunk(mono) if self._resampler else mono
        return resampled


def _one_channel(window: Sequence[Samples]) -> list[Samples]:
    """The average of the channels; or the loudest, where the average loses what they hold.

    That is so where one is the other inverted.
    """
    means = [np.full(len(values), 1 / len(values), np.float32) @ values for values in window]
    usual = lost = 0.0
    for values, mean in zip(window, means, strict=True):
        energy = float(np.square(values).sum()) / len(values) ** 2  # what unrelated channels would leave
        usual += energy
        lost += energy if float(mean @ mean) < _CANCELLED * energy else 0.0
    if lost <= _MOST_CANCELLED * usual:
        return means
    energies = np.sum([np.square(values).sum(axis=1) for values in window], axis=0)
    channel = int(energies.argmax())
    return [np.ascontiguousarray(values[channel]) for values in window]


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name
