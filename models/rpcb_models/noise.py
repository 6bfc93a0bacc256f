"""Noisy speech, the same every time: the shipped recordings under noises of several kinds and strengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings

_MAINS = 50.0  # Hz
_TALKERS = 6

_Signal: TypeAlias = npt.NDArray[np.float64]
"""[T], at any volume."""
_Others: TypeAlias = Sequence[Samples]
"""What else is recorded."""


def _white(count: int, generator: np.random.Generator, _: _Others) -> _Signal:
    return generator.normal(size=count)


def _pink(count: int, generator: np.random.Generator, _: _Others) -> _Signal:
    """White noise whose power falls by half with each octave."""
    spectrum = np.fft.rfft(generator.normal(size=count))
    made: _Signal = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)
    return made


def _hum(count: int, generator: np.random.Generator, _: _Others) -> _Signal:
    """What badly shielded mains leave: their harmonics, and a little white noise."""
    times = np.arange(count) / SAMPLE_RATE
    made = 0.05 * generator.normal(size=count)
    for harmonic in range(1, 21):
        phase = generator.uniform(0, 2 * np.pi)
        made += np.sin(2 * np.pi * _MAINS * harmonic * times + phase) / harmonic**0.7
    return made


def _babble(count: int, generator: np.random.Generator, others: _Others) -> _Signal:
    """Several people talking at once, each from some moment on and equally loud."""
    made = np.zeros(count)
    for talker in generator.choice(len(others), size=_TALKERS, replace=False):
        voice = others[talker] / np.std(others[talker])
        made += np.resize(np.roll(voice, generator.integers(len(voice))), count)
    return made


_MAKERS: Final[dict[str, Callable[[int, np.random.Generator, _Others], _Signal]]] = {
    "white": _white,
    "pink": _pink,
    "hum": _hum,
    "babble": _babble,
}

NOISES: Final = tuple(_MAKERS)
"""The kinds of noise there are."""
SNRS: Final = (0, 5, 10)
"""In dB."""


@dataclass(frozen=True, eq=False)
class NoisyClip:
    """A recording under noise; both float32 [T], mono, 16 kHz."""

    name: str
    noise: str
    snr: int
    """By how much the speech is stronger than the noise, in dB."""
    clean: Samples
    noisy: Samples


def noisy_clips(
    noises: Sequence[str] = NOISES, snrs: Sequence[int] = SNRS, *, every: int = 1, seed: int = 0
) -> Iterator[NoisyClip]:
    """Each recording, or each `every`th, under each noise at each strength.

    A clip's noise depends on the seed, the recording and the kind of noise alone, not on what else is asked
    for.

    Raises:
        ValueError: there is no such noise.
    """
    if unknown := sorted(set(noises) - set(NOISES)):
        raise ValueError(f"there is no noise {unknown[0]}; there are {', '.join(NOISES)}")
    clips = [(clip.name, read_audio(clip.path.read_bytes())) for clip in recordings()]
    for number in range(0, len(clips), every):
        name, clean = clips[number]
        others = [clip for other, clip in clips if other != name]
        for noise in noises:
            generator = np.random.default_rng([seed, number, NOISES.index(noise)])
            sound = _MAKERS[noise](len(clean), generator, others).astype(np.float32)
            for snr in snrs:
                yield NoisyClip(name, noise, snr, clean, mixed(clean, sound, snr))


def mixed(speech: Samples, noise: Samples, snr: float) -> Samples:
    """Add noise to speech, float32 [T] each, so that the speech's power is `snr` dB above the noise's."""
    power = np.mean(np.square(speech)) / np.mean(np.square(noise))
    return speech + noise * np.float32(np.sqrt(power * 10 ** (-snr / 10)))


def si_sdr(clean: Samples, estimate: Samples) -> float:
    """How much of an estimate is the clean signal, at whatever volume, in dB.

    The scale-invariant signal-to-distortion ratio of Le Roux et al., 2019 (arXiv 1811.02508), of float32 [T]
    each.
    """
    reference = clean.astype(np.float64)
    target = reference * (estimate @ reference / (reference @ reference))
    rest = estimate - target
    return float(10 * np.log10(target @ target / (rest @ rest)))
