"""Demucs for speech: a convolutional encoder and decoder on the waveform, with an LSTM between them.

Source: Defossez, Synnaeve and Adi, "Real Time Speech Enhancement in the Waveform Domain", Interspeech 2020
(arXiv 2006.12847). Written from the paper and from what published checkpoints hold and compute; the authors'
own code has another licence and is not part of this.

Alone, a clip is padded to the next length that all strides divide. In a batch more zeros follow, and through
biases and filters these would change its samples by some per cent. So what lies beyond a clip's own padded
length is set to zero wherever it could flow back: a clip's result is that of the clip alone, within rounding
(8e-7 of its loudest sample).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rpcb_models.devices import sent
from rpcb_models.se.resampling import Resampler


@dataclass(frozen=True, kw_only=True)
class DemucsShape:
    """A network's hyper-parameters; the defaults are those of the public checkpoint dns48."""

    widths: tuple[int, ...] = (48, 96, 192, 384, 768)
    """Channels of each level."""
    kernel_size: int = 8
    stride: int = 4
    causal: bool = True
    resample: int = 4
    """How many times the audio's rate the network works at: 1, 2 or 4."""
    glu: bool = True
    """Whether each level ends in a gate, which halves its channels; else in a rectifier."""
    normalize: bool = True
    """Whether a clip is divided by its loudness first, and its result multiplied by it."""
    floor: float = 1e-3
    """Added to a clip's loudness before it is divided by it."""

    def frames(self, samples: int) -> list[int]:
        """Frames of a clip at each level, from the up-sampled audio to the deepest level.

        They are counted back from the deepest, so that the decoder's output is as long as the encoder's
        input.
        """
        count = samples * self.resample
        for _ in self.widths:
            count = max(math.ceil((count - self.kernel_size) / self.stride) + 1, 1)
        counts = [count]
        for _ in self.widths:
            counts.append((counts[-1] - 1) * self.stride + self.kernel_size)
        return counts[::-1]

    def valid_length(self, samples: int) -> int:
        """The length a clip is padded to."""
        return math.ceil(self.frames(samples)[0] / self.resample)


class DemucsNet(nn.Module):
    """The network, float32. Its parameters have the names of the published checkpoints."""

    def __init__(self, shape: DemucsShape) -> None:
        super().__init__()
        self.shape = shape
        pairs = list(pairwise((1, *shape.widths)))
        self.encoder = nn.ModuleList([_encoder_level(outer, inner, shape) for outer, inner in pairs])
        self.decoder = nn.ModuleList(
            [_decoder_level(outer, inner, shape) for outer, inner in reversed(pairs)]
        )
        self.lstm = Recurrence(shape.widths[-1], causal=shape.causal)
        self.resampler = Resampler()

    def forward(self, audio: Tensor, lengths: Sequence[int]) -> Tensor:
        """Enhance a batch.

        Args:
            audio: float32 [B, T], 16 kHz, each row zero from its length on.
            lengths: Samples of each row, none above T. With T for all of them, nothing is masked and the
                result is the published network's on the same padded batch.

        Returns:
            float32 [B, T]; beyond a row's length it means nothing.
        """
        if not self.shape.normalize:
            return self._enhanced(audio, lengths)
        loudness = self._loudness(audio, lengths)
        return self._enhanced(audio / (self.shape.floor + loudness), lengths) * loudness

    def _enhanced(self, audio: Tensor, lengths: Sequence[int]) -> Tensor:
        samples = audio.shape[-1]
        padded = functional.pad(audio, (0, self.shape.valid_length(samples) - samples))
        levels = [self.shape.frames(length) for length in lengths]
        waves = self._upsampled(padded, [self.shape.valid_length(length) for length in lengths])
        waves = self._decoded(*self._encoded(waves[:, None]), levels)[:, 0]
        return self._downsampled(waves, [counts[0] for counts in levels])[:, :samples]

    def _loudness(self, audio: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each row's standard deviation over its own length, [B, 1]."""
        rows = [row[:length] for row, length in zip(audio, lengths, strict=True)]
        deviations = [row.std() if len(row) > 1 else row.new_zeros(()) for row in rows]  # one has none
        return torch.stack(deviations)[:, None]

    def _upsampled(self, waves: Tensor, counts: list[int]) -> Tensor:
        for factor in self._octaves():
            waves = _masked(self.resampler.up(waves), [count * 2 * factor for count in counts])
        return waves

    def _downsampled(self, waves: Tensor, counts: list[int]) -> Tensor:
        for factor in self._octaves():
            waves = self.resampler.down(_masked(waves, [math.ceil(count / factor) for count in counts]))
        return waves

    def _octaves(self) -> list[int]:
        """How many times the rate is what it was at first, before each doubling or halving."""
        return [2**octave for octave in range(round(math.log2(self.shape.resample)))]

    def _encoded(self, signal: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, 1, T] -> the deepest level's [B, C, F], and all levels' for the decoder, the deepest last."""
        skips = []
        for level in self.encoder:
            signal = level(signal)
            skips.append(signal)
        return signal, skips

    def _decoded(self, signal: Tensor, skips: list[Tensor], levels: list[list[int]]) -> Tensor:
        signal = self.lstm(signal, [counts[-1] for counts in levels])
        decoder = cast("Iterable[nn.Sequential]", self.decoder)
        for depth, (level, skip) in enumerate(zip(decoder, reversed(skips), strict=True), start=1):
            signal = level[:_GATED](signal + skip[..., : signal.shape[-1]])
            signal = level[_GATED:](_masked(signal, [counts[-depth] for counts in levels]))
        return signal


class Recurrence(nn.Module):
    """Two LSTM layers over the deepest level's frames, in both directions unless `causal`."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=not causal)
        self.linear = None if causal else nn.Linear(2 * width, width)

    def forward(self, signal: Tensor, counts: list[int]) -> Tensor:
        """[B, C, F] -> the same shape; backwards, each row starts at its own last frame."""
        frames = signal.permute(2, 0, 1)
        hidden: Tensor
        if self.linear is None:
            hidden, _ = self.lstm(frames)
        else:
            ordered = counts == sorted(counts, reverse=True)  # then nothing is to be sorted on the device
            packed = pack_padded_sequence(frames, torch.tensor(counts), enforce_sorted=ordered)
            both, _ = pad_packed_sequence(self.lstm(packed)[0], total_length=len(frames))
            hidden = self.linear(both)
        return hidden.permute(1, 2, 0)


_GATED = 2
"""Modules of a decoder's level up to its gate; the others take it to the next level."""


def _encoder_level(outer: int, inner: int, shape: DemucsShape) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(outer, inner, shape.kernel_size, shape.stride),
        nn.ReLU(),
        *_gate(inner, shape),
    )


def _decoder_level(outer: int, inner: int, shape: DemucsShape) -> nn.Sequential:
    level = [*_gate(inner, shape), nn.ConvTranspose1d(inner, outer, shape.kernel_size, shape.stride)]
    return nn.Sequential(*level, *([nn.ReLU()] if outer > 1 else []))


def _gate(width: int, shape: DemucsShape) -> list[nn.Module]:
    if shape.glu:
        return [nn.Conv1d(width, 2 * width, 1), nn.GLU(dim=1)]
    return [nn.Conv1d(width, width, 1), nn.ReLU()]


def _masked(signal: Tensor, counts: Sequence[int]) -> Tensor:
    """[B, ..., T] with zeros from each row's count on; itself where there is nothing beyond."""
    if min(counts) >= signal.shape[-1]:
        return signal
    steps = torch.arange(signal.shape[-1], device=signal.device)
    beyond = steps >= sent(counts, signal.device)[:, None]
    return signal.masked_fill(beyond.view(len(counts), *[1] * (signal.ndim - 2), -1), 0)
