"""What is no speech: noises, tones and music, float32 [T], mono, 16 kHz, the same every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from rpcb_models.audio import SAMPLE_RATE, Samples

Signal = npt.NDArray[np.float64]
Maker = Callable[[Signal, np.random.Generator], Signal]
"""From the times of samples, in seconds, to a signal within -1 and 1."""

_SCALE = (261.6, 329.6, 392.0, 523.3, 440.0, 349.2, 293.7, 220.0)


def coloured(count: int, generator: np.random.Generator, slope: float) -> Signal:
    """Noise whose amplitude falls with the frequency to the power of `slope`: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(generator.normal(size=count))
    made = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** slope, count)
    loudest: Signal = made / np.abs(made).max()
    return loudest


def _tones(times: Signal, *hertz: float) -> Signal:
    mean: Signal = np.mean([np.sin(2 * np.pi * each * times) for each in hertz], axis=0)
    return mean


def _click(times: Signal, _: np.random.Generator) -> Signal:
    made = np.zeros_like(times)
    made[len(made) // 2] = 1
    return made


def _typing(times: Signal, generator: np.random.Generator) -> Signal:
    made = np.zeros_like(times)
    for start in generator.integers(0, len(made) - 200, size=len(made) // 4000):
        made[start : start + 200] += generator.normal(size=200) * np.exp(-np.arange(200) / 30) / 4
    return made


def _music(times: Signal, _: np.random.Generator) -> Signal:
    made = np.zeros_like(times)
    for number in range(len(times) // 4000):
        part = slice(number * 4000, (number + 1) * 4000)
        since = times[part] - times[part][0]
        for note in (_SCALE[number % 8], _SCALE[(number * 3 + 2) % 8]):
            for overtone in (1, 2, 3, 4):
                made[part] += np.sin(2 * np.pi * note * overtone * since) / overtone * np.exp(-4 * since)
    return made / 4


MAKERS: Final[dict[str, Maker]] = {
    "white": lambda times, generator: coloured(len(times), generator, 0),
    "pink": lambda times, generator: coloured(len(times), generator, 0.5),
    "brown": lambda times, generator: coloured(len(times), generator, 1),
    "wind": lambda times, generator: (
        coloured(len(times), generator, 1.2) * (0.55 + 0.45 * _tones(times, 0.4))
    ),
    "hum": lambda times, _: _tones(times, *range(50, 1001, 50)),
    "buzz": lambda times, _: np.sign(_tones(times, 120)),
    "dial tone": lambda times, _: _tones(times, 350, 440),
    "busy": lambda times, _: _tones(times, 480, 620) * (times % 1 < 0.5),
    "keypad": lambda times, _: _tones(times, 770, 1336) * (times % 0.2 < 0.1),
    "siren": lambda times, _: np.sin(2 * np.pi * 600 * times + 300 * np.sin(np.pi * times)),
    "throb": lambda times, generator: coloured(len(times), generator, 0.5) * (0.5 + 0.5 * _tones(times, 4)),
    "offset": lambda times, _: np.ones_like(times),
    "click": _click,
    "typing": _typing,
    "music": _music,
}


def noise(kind: str, *, dbfs: float, seconds: float) -> Samples:
    """A noise whose loudest sample is near `dbfs`."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    signal = MAKERS[kind](times, np.random.default_rng(len(kind)))
    made: Samples = (signal * 10 ** (dbfs / 20)).clip(-1, 1).astype(np.float32)
    return made


def room(seconds: float) -> Samples:
    """A quiet room: pink noise whose power is at -60 dBFS."""
    made = coloured(round(seconds * SAMPLE_RATE), np.random.default_rng(0), 0.5)
    quiet: Samples = (made / np.sqrt(np.mean(np.square(made))) * 1e-3).astype(np.float32)
    return quiet
