"""Twice the rate and back by a windowed sinc, as Demucs was trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_HALF_WIDTH = 56  # samples on each side; what the published networks' own output shows


class Resampler(nn.Module):
    """Sinc interpolation between neighbours, under a Hann window, for audio [B, T] of any float type."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = math.pi * torch.linspace(-_HALF_WIDTH + 0.5, _HALF_WIDTH - 0.5, 2 * _HALF_WIDTH)
        window = torch.hann_window(4 * _HALF_WIDTH + 1, periodic=False)[1::2]
        self.register_buffer("kernel", (angles.sin() / angles * window).view(1, 1, -1), persistent=False)

    def up(self, audio: Tensor) -> Tensor:
        """[B, T] -> [B, 2 T]: each sample, and what lies between it and the next."""
        between = self._convolved(audio)[:, 1:]
        return torch.stack([audio, between], dim=-1).flatten(-2)

    def down(self, audio: Tensor) -> Tensor:
        """[B, T] -> [B, ceil(T / 2)], without what the lower rate can't hold."""
        audio = functional.pad(audio, (0, audio.shape[-1] % 2))
        return (audio[:, ::2] + self._convolved(audio[:, 1::2])[:, :-1]) * 0.5

    def _convolved(self, audio: Tensor) -> Tensor:
        """[B, T] -> [B, T + 1]: what lies before, between and behind the samples."""
        return functional.conv1d(audio[:, None], self.kernel, padding=_HALF_WIDTH)[:, 0]
