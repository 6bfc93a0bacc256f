"""A `.nemo` file -> a network ready to run on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rpcb_models.asr.quartznet._archive import read_checkpoint
from rpcb_models.asr.quartznet._config import Config, config_of
from rpcb_models.asr.quartznet._network import Network
from rpcb_models.devices import resolve_device
from rpcb_trio import SettingError


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation, and the text of each of its outputs but the last, the blank."""

    network: Network
    labels: tuple[str, ...]
    device: torch.device


def load(path: Path, *, device: str, features: str) -> Loaded:
    """Build a checkpoint's network with its weights, in float32.

    Raises:
        rpcb_trio.SettingError: the device is not there, the file can't be read, its configuration is not
            supported, or its weights are not those of its configuration.
    """
    place = resolve_device(device)
    checkpoint = read_checkpoint(path)
    try:
        config = config_of(checkpoint.config)
        network = network_of(config, checkpoint.weights, features=features)
    except SettingError as error:
        raise SettingError(f"the checkpoint {path} can't be used: {error}") from error
    return Loaded(network.to(place), config.labels, place)


def network_of(config: Config, weights: Mapping[str, Tensor], *, features: str = "3.0") -> Network:
    """Build a network with these weights, in float32 and in evaluation.

    Raises:
        rpcb_trio.SettingError: a key is missing or too many, or a tensor has another shape; names the first.
    """
    with torch.device("meta"):  # so that nothing is allocated on a configuration's word
        network = Network(config, features)
    _check(network.state_dict(), weights)
    whole = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    network.load_state_dict(whole, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def _check(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for key, tensor in expected.items():
        if key not in weights:
            raise SettingError(f"its weights lack {key}")
        if weights[key].shape != tensor.shape:
            raise SettingError(
                f"its weights' {key} has the shape {list(weights[key].shape)}; "
                f"its configuration says {list(tensor.shape)}"
            )
    for key in weights:
        if key not in expected:
            raise SettingError(f"its weights have {key}, which its configuration has not")
