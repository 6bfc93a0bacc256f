"""Demucs' `.th` files -> the network, without running what is in them.

There are two kinds. The public ones (dns48, dns64, master64) are plain dictionaries of weights. What the
authors' trainer writes is a package: `{class, args, kwargs, state}`, where the class is only named; a
stand-in takes its place, so their package need not be there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from models.se.demucs import DemucsNet, DemucsShape
from rpcb_trio import SettingError

_PACKAGED_CLASS = type("Demucs", (), {"__module__": "denoiser.demucs"})


class _Keywords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a package says of its network. Widths, kernel and causality are taken from the weights."""

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


def load_demucs(path: Path, *, stride: int = 4, resample: Literal[1, 2, 4] = 4) -> DemucsNet:
    """Read a checkpoint of either kind; weights of any float type become float32.

    Args:
        path: The `.th` file.
        stride: Of a plain dictionary's network; its weights don't tell. All public ones have 4. A package
            tells its own.
        resample: As `stride`.

    Raises:
        rpcb_trio.SettingError: it is no such file, or of another network; names what differs.
    """
    content = _read(path)
    keywords = _Keywords(stride=stride, resample=resample)
    if isinstance(content, dict) and "state" in content:
        keywords, content = _unpacked(path, content)
    state = _state(path, content)
    shape = _shape(path, state, keywords)
    with torch.device("meta"):
        _refuse_other(path, DemucsNet(shape).state_dict(), state)
    network = DemucsNet(shape)
    network.load_state_dict(state)
    return network.eval()


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
    if not keywords.normalize:
        raise SettingError(f"checkpoint {path} is of another network: its kwargs: normalize is false")
    return keywords, package["state"]


def _state(path: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(map(_is_weight, content.items())):
        raise SettingError(f"checkpoint {path} is neither a dictionary of weights nor a package of one")
    return content


def _is_weight(entry: tuple[Any, Any]) -> bool:
    name, value = entry
    return isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()


def _shape(path: Path, state: Mapping[str, Tensor], keywords: _Keywords) -> DemucsShape:
    """Hyper-parameters, as far as weights can tell them from the weights."""
    kernels: list[Tensor] = []
    while (kernel := state.get(f"encoder.{len(kernels)}.0.weight")) is not None:
        kernels.append(kernel)
    if not kernels or any(kernel.ndim != 3 or not kernel.numel() for kernel in kernels):  # noqa: PLR2004 (out, in, time)
        raise SettingError(
            f"checkpoint {path} is of another network: there is no encoder.0.0.weight of a Demucs"
        )
    return DemucsShape(
        widths=tuple(kernel.shape[0] for kernel in kernels),
        kernel_size=kernels[0].shape[2],
        stride=keywords.stride,
        causal="lstm.linear.weight" not in state,
        resample=keywords.resample,
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
