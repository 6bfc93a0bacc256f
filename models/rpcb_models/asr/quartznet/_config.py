"""What a checkpoint's configuration says of the network, checked against what is computed here.

Options that change the arithmetic are either carried out or refused by name; those that only matter in
training are read over. Both nestings are known: `_target_` beside a section's options, and the older `cls`
with the options under `params`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from rpcb_trio import SettingError

Count: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]
"""A size in a network."""

OptionsT = TypeVar("OptionsT", bound=Struct)

_SAMPLE_RATE = 16_000
_MAX_BLOCKS = 1000
_ACTIVATIONS = {"relu", "selu", "swish"}


class Spectrogram(Struct, frozen=True, forbid_unknown_fields=True):
    """How features are made of samples. Window and mel filters themselves are among the weights."""

    sample_rate: int = _SAMPLE_RATE
    window_size: float | None = 0.02
    """Seconds, as the stride."""
    window_stride: float | None = 0.01
    n_window_size: Count | None = None
    """Samples, as the stride; come before the seconds."""
    n_window_stride: Count | None = None
    n_fft: Count | None = None
    """The next power of two, where there is none."""
    features: Count = 64
    preemph: float | None = 0.97
    pad_to: Annotated[int, Meta(ge=0, le=100_000)] = 16
    """The count of frames becomes a multiple of it; 0: stays."""
    normalize: str | None = "per_feature"
    log: bool = True
    log_zero_guard_type: str = "add"
    log_zero_guard_value: float | str = 2**-24
    mag_power: float = 2.0
    pad_value: float = 0.0
    frame_splicing: int = 1
    exact_pad: bool = False
    stft_exact_pad: bool = False
    stft_conv: bool = False
    nb_augmentation_prob: float = 0.0
    window: Any = None
    lowfreq: Any = None
    highfreq: Any = None
    mel_norm: Any = None
    dither: Any = None
    nb_max_freq: Any = None
    rng: Any = None
    use_grads: Any = None

    @property
    def window_samples(self) -> int:
        return self.n_window_size or round((self.window_size or 0) * self.sample_rate)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.n_window_stride or round((self.window_stride or 0) * self.sample_rate)

    @property
    def fft(self) -> int:
        """The Fourier transform's length in samples."""
        return self.n_fft or 1 << (self.window_samples - 1).bit_length()


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """One block: `repeat` times convolution, normalisation and activation, and what it adds of its input."""

    filters: Count
    kernel: tuple[Count]
    repeat: Annotated[int, Meta(ge=1, le=1000)] = 1
    stride: tuple[Count] = (1,)
    dilation: tuple[Count] = (1,)
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    residual: bool = False
    residual_dense: bool = False
    """Adds the outputs of all dense blocks before it as well."""
    separable: bool = False
    groups: int = 1
    heads: int = -1
    residual_mode: str = "add"
    se: bool = False
    kernel_size_factor: float = 1.0
    stride_last: bool = False
    se_reduction_ratio: Any = None
    se_context_size: Any = None
    se_context_window: Any = None
    se_interpolation_mode: Any = None


class Encoder(Struct, frozen=True, forbid_unknown_fields=True):
    """The blocks. Convolutions are masked whatever `conv_mask` says: see `Network`."""

    feat_in: Count
    jasper: Annotated[list[Block], Meta(min_length=1, max_length=_MAX_BLOCKS)]
    activation: str = "relu"
    normalization_mode: str = "batch"
    residual_mode: str = "add"
    norm_groups: int = -1
    frame_splicing: int = 1
    quantize: bool = False
    conv_mask: Any = None
    init_mode: Any = None


class Decoder(Struct, frozen=True, forbid_unknown_fields=True):
    """The last layer, and the labels in its order. The blank has no label and comes last."""

    feat_in: Count
    num_classes: int = -1
    vocabulary: list[str] | UnsetType | None = UNSET
    init_mode: Any = None


@dataclass(frozen=True)
class Config:
    """A network that can be built here."""

    spectrogram: Spectrogram
    encoder: Encoder
    labels: tuple[str, ...]
    """The text of each output but the last, the blank."""


_PREPROCESSOR_ONLY = {
    "sample_rate": _SAMPLE_RATE,
    "normalize": "per_feature",
    "log": True,
    "log_zero_guard_type": "add",
    "log_zero_guard_value": 2**-24,
    "mag_power": 2.0,
    "pad_value": 0.0,
    "frame_splicing": 1,
    "exact_pad": False,
    "stft_exact_pad": False,
    "stft_conv": False,
}
_ENCODER_ONLY = {
    "normalization_mode": "batch",
    "residual_mode": "add",
    "frame_splicing": 1,
    "quantize": False,
}
_BLOCK_ONLY = {
    "groups": 1,
    "heads": -1,
    "residual_mode": "add",
    "se": False,
    "kernel_size_factor": 1.0,
    "stride_last": False,
}


def config_of(raw: Mapping[str, Any]) -> Config:
    """Check a checkpoint's configuration, as YAML has it.

    Raises:
        rpcb_trio.SettingError: a section or an option is missing, is of another type, or is one that is not
            supported here; the line names it.
    """
    if "tokenizer" in raw:
        raise SettingError("its model has a tokenizer; only models of single labels are supported")
    spectrogram = _section(raw, "preprocessor", "AudioToMelSpectrogramPreprocessor", Spectrogram)
    encoder = _section(raw, "encoder", "ConvASREncoder", Encoder)
    decoder = _section(raw, "decoder", "ConvASRDecoder", Decoder)
    _check_spectrogram(spectrogram)
    _check_encoder(encoder)
    _refuse_where("encoder.feat_in", encoder.feat_in, differs_from=spectrogram.features)
    _refuse_where("decoder.feat_in", decoder.feat_in, differs_from=encoder.jasper[-1].filters)
    return Config(spectrogram, encoder, _labels(raw, decoder))


def _section(raw: Mapping[str, Any], name: str, supported: str, options: type[OptionsT]) -> OptionsT:
    section = raw.get(name)
    if not isinstance(section, dict):
        raise SettingError(f"its configuration has no section {name}")
    kind = str(section.get("_target_", section.get("cls", "nothing")))
    if kind.rpartition(".")[2] != supported:
        raise SettingError(f"its {name} is {kind}; only {supported} is supported")
    given = section.get("params") if "cls" in section else section
    if not isinstance(given, dict):
        raise SettingError(f"its configuration has no {name}.params")
    try:
        return msgspec.convert({key: given[key] for key in given if key != "_target_"}, options)
    except (msgspec.ValidationError, TypeError) as error:
        place = f"its {name} is not supported"
        raise SettingError(f"{place}: {str(error).replace('`$', f'`{name}')}") from error


def _check_spectrogram(options: Spectrogram) -> None:
    _refuse_unsupported("preprocessor", options, _PREPROCESSOR_ONLY)
    if not 0 < options.window_samples <= options.fft or not options.hop:
        raise SettingError(
            f"its preprocessor's window of {options.window_samples} samples, hop of {options.hop} "
            f"and n_fft of {options.fft} don't fit together"
        )


def _check_encoder(encoder: Encoder) -> None:
    _refuse_unsupported("encoder", encoder, _ENCODER_ONLY)
    if encoder.activation not in _ACTIVATIONS:
        raise SettingError(
            f"its encoder.activation is {encoder.activation}; supported are {', '.join(sorted(_ACTIVATIONS))}"
        )
    for index, block in enumerate(encoder.jasper):
        _check_block(f"encoder.jasper[{index}]", block)
    dense = [block.residual_dense for block in encoder.jasper]
    residual = [block.residual for block in encoder.jasper]
    if any(dense) and (dense != residual or False in dense[dense.index(True) : _last(dense)]):
        raise SettingError("its encoder.jasper mixes residual_dense blocks with others")


def _check_block(place: str, block: Block) -> None:
    _refuse_unsupported(place, block, _BLOCK_ONLY)
    if block.stride[0] > 1 and (block.dilation[0] > 1 or block.residual):
        raise SettingError(f"its {place} has a stride together with a dilation or a residual")
    if block.dilation[0] * (block.kernel[0] - 1) % 2:
        raise SettingError(f"its {place} has a kernel of {block.kernel[0]}, which has no middle")
    if block.residual_dense and not block.residual:
        raise SettingError(f"its {place} is residual_dense without being residual")


def _last(flags: list[bool]) -> int:
    return len(flags) - flags[::-1].index(True)


def _refuse_unsupported(place: str, options: Struct, supported: Mapping[str, Any]) -> None:
    for name, only in supported.items():
        _refuse_where(f"{place}.{name}", getattr(options, name), differs_from=only)


def _refuse_where(name: str, value: Any, *, differs_from: Any) -> None:
    if value != differs_from:
        raise SettingError(f"its {name} is {value}; only {differs_from} is supported")


def _labels(raw: Mapping[str, Any], decoder: Decoder) -> tuple[str, ...]:
    try:
        labels = msgspec.convert(decoder.vocabulary or raw.get("labels"), list[str])
    except msgspec.ValidationError as error:
        raise SettingError(f"its labels are no list of texts ({error})") from error
    if decoder.num_classes not in {-1, len(labels)}:
        raise SettingError(
            f"its decoder.num_classes is {decoder.num_classes}, but it has {len(labels)} labels"
        )
    return tuple(labels)
