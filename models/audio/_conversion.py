"""Decoded frames of any rate and layout -> float32, mono, 16 kHz."""

from __future__ import annotations

from typing import Final, TypeAlias

from models.audio._errors import unparseable, unsupported
from rpcb_trio import SettingError

try:
    import av
    import numpy as np
    import numpy.typing as npt
    import soxr
except ModuleNotFoundError as missing:
    raise SettingError(f"reading audio needs {missing.name}: pip install 'rpcb-trio[audio]'") from missing

Samples: TypeAlias = "npt.NDArray[np.float32]"
"""float32 [T], mono, 16 kHz, within -1 and 1."""

SAMPLE_RATE: Final = 16_000
"""Of all samples, in Hz."""

_RATES = range(4_000, 384_001)
_MAX_CHANNELS = 32
_SILENCE = 1e-4  # a 16-bit recording of a quiet room is louder


def is_silent(samples: Samples) -> bool:
    """Whether no sample is above -80 dBFS; so where there are none."""
    return bool(np.abs(samples).max(initial=0.0) < _SILENCE)


class Converter:
    """Takes one file's frames in their order and counts their seconds.

    Args:
        first: The file's first frame; the others must be of its kind.
        max_seconds: How much may be fed.

    Raises:
        AudioError: 402; the rate or the channels are no recorder's.
    """

    def __init__(self, first: av.AudioFrame, max_seconds: float) -> None:
        channels = first.layout.nb_channels
        if first.sample_rate not in _RATES or channels > _MAX_CHANNELS:
            raise unsupported(f"{channels} channels at {first.sample_rate} Hz are not supported")
        self.seconds = 0.0
        self._max_seconds = max_seconds
        self._kind = _kind(first)
        self._channels = channels
        # Interleaved, for PyAV 18 crashes on the planes of a frame that has eight or more of them.
        self._interleaver = av.AudioResampler("flt", first.layout, first.sample_rate)
        self._resampler: soxr.ResampleStream | None = None
        if first.sample_rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(
                first.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ"
            )
        self._pieces: list[Samples] = []

    def feed(self, frame: av.AudioFrame) -> None:
        """Take a frame.

        Raises:
            AudioError: 403; it is of another kind than the first, or too much.
        """
        if _kind(frame) != self._kind:
            raise unparseable("the audio's rate, channels or sample format change on the way")
        self.seconds += frame.samples / frame.sample_rate
        if self.seconds > self._max_seconds:
            raise unparseable(f"the audio is longer than the {self._max_seconds:g} s allowed")
        for interleaved in self._interleaver.resample(frame):
            mono = _mono(interleaved, self._channels)
            self._pieces.append(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def finish(self) -> Samples:
        """All samples; nothing can be fed any more."""
        if self._resampler:
            self._pieces.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate(self._pieces)


def _mono(interleaved: av.AudioFrame, channels: int) -> Samples:
    values = interleaved.to_ndarray().reshape(-1, channels)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no finite number is found at the end
        mono: Samples = values.mean(axis=1, dtype=np.float32)
    return mono


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name
