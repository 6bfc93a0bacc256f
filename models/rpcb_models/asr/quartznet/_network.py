"""Jasper and QuartzNet: blocks of one-dimensional convolutions under a CTC layer.

Sources: QuartzNet (arXiv 1910.10261), Jasper (arXiv 1904.03288). Modules are named and numbered as NeMo's
are, so that a checkpoint's keys are theirs.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from rpcb_models.asr.quartznet._config import Block, Config, Encoder
from rpcb_models.asr.quartznet._features import Features, within

Reach: TypeAlias = tuple[int, int, int]
"""A kernel's size, stride and dilation."""

_EPSILON: Final = 1e-3  # of the normalisation
_ACTIVATIONS: Final = {"relu": nn.ReLU, "selu": nn.SELU, "swish": nn.SiLU}


class Network(nn.Module):
    """float32 samples [B, N], lengths int64 [B] -> log-probabilities [B, T', V + 1], frames int64 [B].

    The blank is the last of the V + 1. Each convolution's input is zero past its row's length, so that a row
    comes out as it would alone; with `features="3.0"` to the rounding of sums. A checkpoint trained without
    such masks (`conv_mask: false`) thus gets what it gives for a clip alone.
    """

    def __init__(self, config: Config, features: str = "3.0") -> None:
        super().__init__()
        self.preprocessor = _Preprocessor(Features(config.spectrogram, features))
        self.encoder = _Encoder(config.encoder)
        self.decoder = _Decoder(config.encoder.jasper[-1].filters, len(config.labels) + 1)
        self._dtype = torch.float32

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features, in float32 whatever comes after them, then all else."""
        return self.recognise(*self.preprocessor.featurizer(audio, lengths))

    def halve(self, dtype: torch.dtype) -> None:
        """Keep the convolutions in a type of half the width from now on, and compute them in it.

        Normalisations stay in float32, whose range their deviations need.
        """
        for layer in (*self.encoder.modules(), *self.decoder.modules()):
            if isinstance(layer, nn.Conv1d):
                layer.to(dtype)
        self._dtype = dtype

    def recognise(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities of features [B, M, T] and frames int64 [B]."""
        encoded, frames = self.encoder(features.to(self._dtype), frames)
        scores = self.decoder.decoder_layers(encoded).transpose(1, 2)
        return nn.functional.log_softmax(scores.float(), dim=-1), frames


class _Preprocessor(nn.Module):
    def __init__(self, featurizer: Features) -> None:
        super().__init__()
        self.featurizer = featurizer


class _Decoder(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.decoder_layers = nn.Sequential(nn.Conv1d(channels, classes, 1))


class _Encoder(nn.Module):
    def __init__(self, options: Encoder) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        channels, dense = options.feat_in, list[int]()
        for block in options.jasper:
            dense = [*dense, channels] if block.residual_dense else dense
            self.encoder.append(
                _Block(block, channels, options.activation, dense if block.residual_dense else [channels])
            )
            channels = block.filters

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        panes = [_laid_out(features)]
        for block in self.encoder:
            panes, frames = block(panes, frames)
        return panes[-1].squeeze(2), frames


class _Block(nn.Module):
    """Takes its input and, where dense, the outputs it is to add; gives the same for the next."""

    def __init__(self, options: Block, channels: int, activation: str, added: list[int]) -> None:
        super().__init__()
        self._dense = options.residual_dense
        layers: list[nn.Module] = []
        for _ in range(options.repeat):
            layers += [*_convolution(options, channels), *_ending(options, activation)]
            channels = options.filters
        self.mout = nn.Sequential(*_ending(options, activation))
        self.mconv = nn.ModuleList(layers[: -len(self.mout)])
        self.res = nn.ModuleList(_projection(each, channels) for each in added if options.residual)

    def forward(self, panes: list[Tensor], frames: Tensor) -> tuple[list[Tensor], Tensor]:
        out, after = _through(self.mconv, panes[-1], frames)
        if self.res:
            for pane, layers in zip(panes, self.res, strict=True):
                out = out + _through(layers, pane, frames)[0]
        out = self.mout(out)
        return ([*panes, out] if self._dense else [out]), after


class _MaskedConvolution(nn.Module):
    """Its weights are a one-dimensional convolution's; it runs as a two-dimensional one, of height 1."""

    def __init__(self, channels: int, filters: int, reach: Reach, groups: int = 1) -> None:
        super().__init__()
        kernel, self._stride, self._dilation = reach
        self._padding = self._dilation * (kernel - 1) // 2
        self._groups = groups
        self.conv = nn.Conv1d(channels, filters, kernel, groups=groups, bias=False)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        masked = x * within(frames, x.shape[3])[:, None, None]  # masked_fill would change the layout
        out = nn.functional.conv2d(
            masked,
            self.conv.weight.unsqueeze(2),
            stride=(1, self._stride),
            padding=(0, self._padding),
            dilation=(1, self._dilation),
            groups=self._groups,
        )
        return out, torch.div(frames - 1, self._stride, rounding_mode="floor") + 1


def _convolution(options: Block, channels: int) -> list[nn.Module]:
    """One repetition up to its normalisation; a separable one has one filter a channel, then mixes them."""
    reach = (options.kernel[0], options.stride[0], options.dilation[0])
    if options.separable:
        return [
            _MaskedConvolution(channels, channels, reach, groups=channels),
            *_projection(channels, options.filters),
        ]
    return [_MaskedConvolution(channels, options.filters, reach), _normalisation(options.filters)]


def _projection(channels: int, filters: int) -> nn.ModuleList:
    return nn.ModuleList([_MaskedConvolution(channels, filters, (1, 1, 1)), _normalisation(filters)])


def _ending(options: Block, activation: str) -> list[nn.Module]:
    return [_ACTIVATIONS[activation](), nn.Dropout(options.dropout)]


def _normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


def _laid_out(features: Tensor) -> Tensor:
    """[B, C, T] -> [B, C, 1, T]; on a processor with the channels innermost, as all that follows then is.

    There a filter for each channel takes a 30th of the time (512 channels, 63 taps: 0.7 ms for 26).
    """
    image = features.unsqueeze(2)
    return image.contiguous(memory_format=torch.channels_last) if features.device.type == "cpu" else image


def _through(layers: nn.Module, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    for layer in layers.children():
        if isinstance(layer, _MaskedConvolution):
            x, frames = layer(x, frames)
        else:
            x = layer(x)
    return x, frames
