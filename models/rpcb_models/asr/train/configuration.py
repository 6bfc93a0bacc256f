"""The network that is trained: a QuartzNet (arXiv 1910.10261) of 0.57 million parameters, before training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from rpcb_models.asr.quartznet._config import Spectrogram, config_of
from rpcb_models.asr.quartznet._network import Network
from rpcb_models.asr.train import augmentation
from rpcb_models.asr.train.labels import LABELS
from rpcb_models.audio import SAMPLE_RATE

_FEATURES: Final = 64
_FFT: Final = 512
_BODY: Final = ((128, 11), (128, 13), (128, 17), (160, 21), (160, 25))  # filters and kernel of a block
_MODULES: Final = "nemo.collections.asr.modules"


def configuration() -> dict[str, Any]:
    """Give the configuration as a `.nemo` file's YAML has it, in the form NeMo 1.2 and later read."""
    jasper = [
        _block(128, 33, stride=2),
        *(_block(filters, kernel, repeat=3, residual=True) for filters, kernel in _BODY),
        _block(224, 29, dilation=2),
        _block(320, 1, separable=False),
    ]
    labels = list(LABELS)
    return {
        "sample_rate": SAMPLE_RATE,
        "labels": labels,
        "target": "nemo.collections.asr.models.ctc_models.EncDecCTCModel",
        "nemo_version": "1.2.0",
        "preprocessor": _preprocessor(),
        "spec_augment": _spec_augment(),
        "encoder": {
            "_target_": f"{_MODULES}.ConvASREncoder",
            "feat_in": _FEATURES,
            "activation": "relu",
            "conv_mask": True,
            "jasper": jasper,
        },
        "decoder": {
            "_target_": f"{_MODULES}.ConvASRDecoder",
            "feat_in": jasper[-1]["filters"],
            "num_classes": len(labels),
            "vocabulary": labels,
        },
    }


def untrained(raw: Mapping[str, Any], *, seed: int) -> Network:
    """Build a configuration's network, in training, with weights of chance and features ready to compute."""
    config = config_of(raw)
    torch.manual_seed(seed)
    network = Network(config)
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.xavier_uniform_(module.weight)
    features = network.preprocessor.featurizer
    features.window.copy_(torch.hann_window(config.spectrogram.window_samples, periodic=False))
    features.fb.copy_(mel_filters(config.spectrogram))
    return network.train()


def mel_filters(options: Spectrogram) -> Tensor:
    """Triangles of equal area, evenly spread on Slaney's mel scale up to half the sample rate: [1, M, F]."""
    top = _mel(options.sample_rate / 2)
    edges = torch.tensor(
        [_hertz(top * step / (options.features + 1)) for step in range(options.features + 2)],
        dtype=torch.float64,
    )
    bins = torch.linspace(0, options.sample_rate / 2, options.fft // 2 + 1, dtype=torch.float64)
    low, middle, high = (edges[start : start + options.features, None] for start in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    triangles = torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)
    return triangles.float()[None]


def _block(
    filters: int,
    kernel: int,
    *,
    repeat: int = 1,
    stride: int = 1,
    dilation: int = 1,
    residual: bool = False,
    separable: bool = True,
) -> dict[str, Any]:
    return {
        "filters": filters,
        "repeat": repeat,
        "kernel": [kernel],
        "stride": [stride],
        "dilation": [dilation],
        "dropout": 0.05,
        "residual": residual,
        "separable": separable,
    }


def _preprocessor() -> dict[str, Any]:
    return {
        "_target_": f"{_MODULES}.AudioToMelSpectrogramPreprocessor",
        "normalize": "per_feature",
        "window_size": 0.02,
        "sample_rate": SAMPLE_RATE,
        "window_stride": 0.01,
        "window": "hann",
        "features": _FEATURES,
        "n_fft": _FFT,
        "frame_splicing": 1,
        "dither": augmentation.DITHER,
        "pad_to": 16,
    }


def _spec_augment() -> dict[str, Any]:
    return {
        "_target_": f"{_MODULES}.SpectrogramAugmentation",
        "freq_masks": augmentation.FREQ_MASKS,
        "freq_width": augmentation.FREQ_WIDTH,
        "time_masks": augmentation.TIME_MASKS,
        "time_width": augmentation.TIME_WIDTH,
    }


_LINEAR_HERTZ: Final = 200 / 3  # a mel, up to
_KNEE_HERTZ: Final = 1000.0
_KNEE: Final = _KNEE_HERTZ / _LINEAR_HERTZ  # mels; beyond it 27 mels make a factor of 6.4
_LOG_STEP: Final = math.log(6.4) / 27


def _mel(hertz: float) -> float:
    above = hertz > _KNEE_HERTZ
    return _KNEE + math.log(hertz / _KNEE_HERTZ) / _LOG_STEP if above else hertz / _LINEAR_HERTZ


def _hertz(mel: float) -> float:
    above = mel > _KNEE
    return _KNEE_HERTZ * math.exp((mel - _KNEE) * _LOG_STEP) if above else mel * _LINEAR_HERTZ
