"""Makes each clip another one every time it is learned from. All chance is torch's own generator."""

from __future__ import annotations

from typing import Final

import soxr
import torch
from torch import Tensor

from rpcb_models.audio import SAMPLE_RATE, Samples

FREQ_MASKS: Final = 2
FREQ_WIDTH: Final = 12
"""Of a mask at most, in features."""
TIME_MASKS: Final = 2
TIME_WIDTH: Final = 0.05
"""Of a mask at most, as a share of the clip's frames."""
DITHER: Final = 1e-5
"""Deviation of the noise under every clip, of full scale 1."""

_SPEEDS: Final = (0.9, 1.1)
_NOISY: Final = 0.5  # share of the clips that get more noise than the dither
_NOISE_RATIOS: Final = (10.0, 40.0)  # dB of speech over noise
_NOISE_SLOPES: Final = (0.0, 2.0)  # its power falls as 1 / frequency ** slope: white, pink, brown


def varied(samples: Samples) -> Tensor:
    """Speak a clip (float32 [T], 16 kHz) a little faster or slower, in noise: float32 [T']."""
    faster = soxr.resample(samples, SAMPLE_RATE * _uniform(*_SPEEDS), SAMPLE_RATE)
    audio = torch.from_numpy(faster)
    if _uniform(0, 1) < _NOISY:
        wanted = audio.square().mean().sqrt() * 10 ** (-_uniform(*_NOISE_RATIOS) / 20)
        audio = audio + wanted * _noise(len(audio), _uniform(*_NOISE_SLOPES))
    return audio + DITHER * torch.randn(len(audio))


def masked(features: Tensor, frames: Tensor) -> Tensor:
    """Hide bands and stretches of features [B, M, T] by their mean, 0: SpecAugment (arXiv 1904.08779)."""
    hidden = torch.zeros_like(features, dtype=torch.bool)
    for row, count in zip(hidden, frames.tolist(), strict=True):
        for _ in range(FREQ_MASKS):
            row[_stretch(features.shape[1], FREQ_WIDTH)] = True
        for _ in range(TIME_MASKS):
            row[:, _stretch(count, int(TIME_WIDTH * count))] = True
    return features.masked_fill(hidden, 0)


def _noise(count: int, slope: float) -> Tensor:
    """Noise of deviation 1 whose power falls as 1 / frequency ** slope."""
    spectrum = torch.fft.rfft(torch.randn(count))
    falling: Tensor = torch.arange(1, len(spectrum) + 1) ** (-slope / 2)
    noise: Tensor = torch.fft.irfft(spectrum * falling, count)
    return noise / noise.square().mean().sqrt()


def _stretch(size: int, widest: int) -> slice:
    width = int(torch.randint(min(widest, size) + 1, ()))
    start = int(torch.randint(size - width + 1, ()))
    return slice(start, start + width)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
