"""Decoded frames of any rate and layout -> float32, mono, 16 kHz."""

from __future__ import annotations

from typing import Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soxr

from rpcb_models.decoding._refusal import unparseable, unsupported
from rpcb_models.decoding.protocol import SAMPLE_RATE

Samples: TypeAlias = "npt.NDArray[np.float32]"

_RATES = range(4_000, 384_001)
_MAX_CHANNELS = 32
_MANY_CHANNELS: Final = 8
_BLOCK: Final = 4_096  # samples a channel that are converted at once
_CANCELLED: Final = 0.1  # of the energy that channels which have nothing in common would leave
_MOST_CANCELLED: Final = 0.01  # share of a recording's energy
_SCALES: Final = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "flt": 1.0, "dbl": 1.0}


class Cancelled(Exception):
    """The channels' average loses what they hold, as where one is the other inverted.

    `channel` is the loudest, which is to be heard alone.
    """

    def __init__(self, channel: int) -> None:
        super().__init__(channel)
        self.channel = channel


class Converter:
    """Takes one recording's frames in their order and counts their seconds.

    Args:
        max_seconds: How much may be fed.
        channel: The one to be heard; the average of all where it is None.
    """

    def __init__(self, max_seconds: float, channel: int | None = None) -> None:
        self.seconds = 0.0
        self._max_seconds = max_seconds
        self._channel = channel
        self._part: _Part | None = None
        self._pieces: list[Samples] = []
        self._energies = np.zeros(_MAX_CHANNELS)
        self._lost = self._energy = 0.0

    def feed(self, frame: av.AudioFrame) -> None:
        """Take a frame. Its rate, channels and sample format may be others than those before it.

        Raises:
            Refusal: they are no recorder's, or it is too much.
        """
        if self._part is None or self._part.kind != _kind(frame):
            self._end_part()
            self._part = _Part(frame)
        self.seconds += frame.samples / frame.sample_rate
        if self.seconds > self._max_seconds:
            raise unparseable(f"the audio is longer than the {self._max_seconds:g} s allowed")
        if self._part.add(frame) >= _BLOCK:
            self._convert(self._part)

    def finish(self) -> Samples:
        """All samples; nothing can be fed any more.

        Raises:
            Cancelled: they would not be what is heard in the recording.
        """
        self._end_part()
        if self._lost > _MOST_CANCELLED * self._energy:
            raise Cancelled(int(self._energies.argmax()))
        return np.concatenate(self._pieces)

    def _end_part(self) -> None:
        if self._part is not None:
            self._convert(self._part)
            self._pieces.append(self._part.end())

    def _convert(self, part: _Part) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # what is no finite number is found at the end
            values = part.taken()
            if self._channel is not None:
                mono = np.ascontiguousarray(values[min(self._channel, len(values) - 1)])
            elif len(values) == 1:
                mono = values[0]
            else:
                mono = np.full(len(values), 1 / len(values), np.float32) @ values
                self._count(values, mono)
        self._pieces.append(part.resampled(mono))

    def _count(self, values: Samples, mono: Samples) -> None:
        """Tell what the average has lost."""
        energies = np.einsum("ct,ct->c", values, values)
        usual = float(energies.sum()) / len(values) ** 2
        self._energies[: len(energies)] += energies
        self._energy += usual
        if float(mono @ mono) < _CANCELLED * usual:
            self._lost += usual


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

    def add(self, frame: av.AudioFrame) -> int:
        """Take a frame, and tell how many samples a channel are waiting."""
        for each in self._interleaver.resample(frame) if self._interleaver else (frame,):
            stored = each.to_ndarray()
            self._waiting.append(stored if each.format.is_planar else stored.reshape(-1, self._channels).T)
        self._count += frame.samples
        return self._count

    def taken(self) -> Samples:
        """What is waiting: float32 [channels, T]."""
        waiting, self._waiting, self._count = self._waiting, [], 0
        if not waiting:
            return np.zeros((self._channels, 0), np.float32)
        stored = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, axis=1)
        values = stored.astype(np.float32, order="C")
        if self._format == "u8":
            values -= 128
        return values * np.float32(_SCALES[self._format])

    def resampled(self, mono: Samples) -> Samples:
        """The same sound at 16 kHz, as far as it can be told yet."""
        resampled: Samples = self._resampler.resample_chunk(mono) if self._resampler else mono
        return resampled

    def end(self) -> Samples:
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest: Samples = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        return rest


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name
