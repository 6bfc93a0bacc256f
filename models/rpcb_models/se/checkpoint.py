"""Demucs' `.th` files -> the network, without running what is in them.

There are two kinds. The public ones (dns48, dns64, master64) are plain dictionaries of weights. What the
authors' trainer writes is a package: `{class, args, kwargs, state}`, where the class is only named; a
stand-in takes its place, so their package need not be there.

Weights tell the widths, the kernel, causality and the gates, but not the stride, the resampling nor whether
clips are normalised. A wrong guess would run all the same, and be wrong by half of the signal and more. So
they are taken from the package, or known of the public networks' widths, or must be given.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from rpcb_models.se.demucs import DemucsNet, DemucsShape
from rpcb_trio import SettingError

_PACKAGED_CLASS = type("Demucs", (), {"__module__": "denoiser.demucs"})


_PUBLIC_WIDTHS = {(48, 96, 192, 384, 768), (64, 128, 256, 512, 1024)}  # dns48; dns64 and master64
_PUBLIC_KERNEL = 8


class Given(msgspec.Struct, frozen=True):
    """What a user says of a checkpoint's network, where its weights can't; None where nothing is said."""

    stride: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    resample: Literal[1, 2, 4] | None = None
    normalize: bool | None = None


class _Keywords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a package says of its network. Widths, kernel, gates and causality are taken from the weights."""

    chin: Literal[1] = 1
    chout: Literal[1] = 1
    hidden: int = 48
    depth: int = 5
    kernel_size: int = 8
    stride: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    causal: bool = True
    resample: Literal[1, 2, 4] = 4
    growth: float = 2
    max_hidden: int = 10_000
    normalize: bool = True
    glu: bool = True
    rescale: float = 0.1
    floor: Annotated[float, msgspec.Meta(gt=0)] = 1e-3
    sample_rate: Literal[16_000] = 16_000


def load_demucs(
    path: Path, *, stride: int | None = None, resample: int | None = None, normalize: bool | None = None
) -> DemucsNet:
    """Read a checkpoint of either kind; weights of any float type become float32.

    Args:
        path: The `.th` file.
        stride: Of the convolutions, where the file does not tell it; the public networks have 4.
        resample: How many times the audio's rate the network works at, 1, 2 or 4; as `stride`.
        normalize: Whether each clip is brought to one loudness first, as the public networks want; true
            where neither the file nor you say otherwise.

    Raises:
        rpcb_trio.SettingError: it is no such file, or of another network; names what differs. Or the file
            does not tell its network's stride or resample, and it is not given, or the file tells another.
    """
    given = _given({"stride": stride, "resample": resample, "normalize": normalize})
    content = _read(path)
    packaged = isinstance(content, dict) and "state" in content
    keywords, content = _unpacked(path, content) if packaged else (None, content)
    state = _state(path, content)
    kernels = _kernels(path, state)
    shape = _shape(state, kernels, _agreed(path, kernels, keywords, given))
    with torch.device("meta"):
        _refuse_other(path, DemucsNet(shape).state_dict(), state)
    network = DemucsNet(shape)
    network.load_state_dict(state)
    return network.eval()


def _given(said: Mapping[str, Any]) -> Given:
    try:
        return msgspec.convert(said, Given)
    except msgspec.ValidationError as error:
        raise SettingError(f"demucs can't have that: {error}") from error


def _agreed(path: Path, kernels: list[Tensor], keywords: _Keywords | None, given: Given) -> _Keywords:
    """What holds: the package's word, which a user can't overrule, or the user's, or the public networks'."""
    said = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
    if keywords is not None:
        for name, value in said.items():
            if getattr(keywords, name) != value:
                raise SettingError(
                    f"{name} is {value}, but the checkpoint {path} says {getattr(keywords, name)}; "
                    f"leave {name} out"
                )
        return keywords
    widths = tuple(kernel.shape[0] for kernel in kernels)
    public = widths in _PUBLIC_WIDTHS and kernels[0].shape[2] == _PUBLIC_KERNEL
    for name in ("stride", "resample"):
        if name not in said and not public:
            raise SettingError(
                f"the checkpoint {path} holds weights alone, and they do not tell the network's {name}; "
                f"give {name} as it was trained (denoiser's default is 4)"
            )
    return msgspec.structs.replace(_Keywords(), **said)


def _read(path: Path) -> Any:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise SettingError(f"checkpoint {path} can't be read: {error.strerror}") from error
    try:
        with torch.serialization.safe_globals([_PACKAGED_CLASS]):
            return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle raises anything
        raise SettingError(f"checkpoint {path} is no .th file of weights alone") from error


def _unpacked(path: Path, package: dict[str, Any]) -> tuple[_Keywords, Any]:
    if package.get("args"):
        raise SettingError(f"checkpoint {path} has args: {package['args']}; only kwargs are understood")
    try:
        keywords = msgspec.convert(package.get("kwargs", {}), _Keywords)
    except msgspec.ValidationError as error:
        raise SettingError(f"checkpoint {path} is of another network: its kwargs: {error}") from error
    return keywords, package["state"]


def _state(path: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(map(_is_weight, content.items())):
        raise SettingError(f"checkpoint {path} is neither a dictionary of weights nor a package of one")
    return content


def _is_weight(entry: tuple[Any, Any]) -> bool:
    name, value = entry
    return isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()


def _kernels(path: Path, state: Mapping[str, Tensor]) -> list[Tensor]:
    """The first weights of each of the encoder's levels."""
    kernels: list[Tensor] = []
    while (kernel := state.get(f"encoder.{len(kernels)}.0.weight")) is not None:
        kernels.append(kernel)
    if not kernels or any(kernel.ndim != 3 or not kernel.numel() for kernel in kernels):  # noqa: PLR2004 (out, in, time)
        raise SettingError(
            f"checkpoint {path} is of another network: there is no encoder.0.0.weight of a Demucs"
        )
    return kernels


def _shape(state: Mapping[str, Tensor], kernels: Sequence[Tensor], keywords: _Keywords) -> DemucsShape:
    """Hyper-parameters, as far as weights can tell them from the weights."""
    gates = state.get("encoder.0.2.weight", kernels[0])
    return DemucsShape(
        widths=tuple(kernel.shape[0] for kernel in kernels),
        kernel_size=kernels[0].shape[2],
        stride=keywords.stride,
        causal="lstm.linear.weight" not in state,
        resample=keywords.resample,
        glu=gates.shape[0] != kernels[0].shape[0],
        normalize=keywords.normalize,
        floor=keywords.floor,
    )


def _refuse_other(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    other = f"checkpoint {path} is of another network"
    for name in sorted(expected.keys() ^ found.keys()):
        raise SettingError(f"{other}: {name!r} is {'missing' if name in expected else 'one too many'}")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise SettingError(
                f"{other}: {name} has the shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
            )
