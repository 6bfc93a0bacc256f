"""Samples -> log-mel features, as NeMo computes them: in two variants, of which one depends on the batch.

Pre-emphasis, short-time power spectrum, mel filters, logarithm, then each feature's mean and deviation over
the clip's own frames. NeMo 1.2 reflects the padded batch's edges and lets the pre-emphasis ring past the
clip's end, so that a clip's last frame depends on what it is padded with; 3.0 does neither.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from rpcb_models.asr.quartznet._config import Spectrogram

_LOG_GUARD: Final = 2.0**-24
_DEVIATION_GUARD: Final = 1e-5


class Features(nn.Module):
    """float32 samples [B, N] and lengths int64 [B] -> features [B, M, T] and frames int64 [B].

    Window and mel filters are weights, so that they are the checkpoint's own. Frames past a clip's end are
    zero, up to a multiple of `pad_to`.
    """

    window: Tensor
    fb: Tensor

    def __init__(self, options: Spectrogram, variant: str = "3.0") -> None:
        super().__init__()
        self._options = options
        self._variant = variant
        self.register_buffer("window", torch.zeros(options.window_samples))
        self.register_buffer("fb", torch.zeros(1, options.features, options.fft // 2 + 1))

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames clips of those samples have."""
        whole = torch.div(lengths, self._options.hop, rounding_mode="floor")
        return whole + 1 if self._variant == "1.2" else whole

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        emphasised = audio
        if self._options.preemph is not None:
            emphasised = torch.cat((audio[:, :1], audio[:, 1:] - self._options.preemph * audio[:, :-1]), 1)
        if self._variant == "3.0":
            emphasised = emphasised.masked_fill(~within(lengths, audio.shape[1]), 0)
        mel = torch.matmul(self.fb, self._power(emphasised))
        frames = self.frames(lengths)
        normal = _normalised(torch.log(mel + _LOG_GUARD), frames)
        return self._padded(normal), frames

    def _power(self, samples: Tensor) -> Tensor:
        spectrum = torch.stft(
            samples,
            self._options.fft,
            hop_length=self._options.hop,
            win_length=self._options.window_samples,
            window=self.window,
            center=True,
            pad_mode="reflect" if self._variant == "1.2" else "constant",
            return_complex=True,
        )
        return spectrum.real.square() + spectrum.imag.square()

    def _padded(self, features: Tensor) -> Tensor:
        multiple = self._options.pad_to
        return nn.functional.pad(features, (0, -features.shape[2] % multiple)) if multiple else features


def within(lengths: Tensor, size: int) -> Tensor:
    """Whether a step is within its row's length: bool [B, size]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _normalised(features: Tensor, frames: Tensor) -> Tensor:
    """Mean 0 and unbiased deviation 1 over each row's own frames; zero past them."""
    inside = within(frames, features.shape[2])[:, None]
    count = frames[:, None, None]
    mean = features.masked_fill(~inside, 0).sum(2, keepdim=True) / count
    centred = (features - mean).masked_fill(~inside, 0)
    deviation = (centred.square().sum(2, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation + _DEVIATION_GUARD)
