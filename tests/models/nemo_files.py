"""Small checkpoints made on the spot, with any configuration and weights."""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from rpcb_models.asr.quartznet._config import config_of
from rpcb_models.asr.quartznet._network import Network

DATA = Path(__file__).parents[1] / "data" / "nemo"
ENGLISH = [*" abcdefghijklmnopqrstuvwxyz'"]


def block(filters: int, kernel: int, repeat: int = 1, **others: Any) -> dict[str, Any]:
    """A separable block of QuartzNet."""
    plain = {"stride": [1], "dilation": [1], "dropout": 0.0, "residual": False, "separable": True}
    return {"filters": filters, "kernel": [kernel], "repeat": repeat, **plain, **others}


def configuration(*blocks: dict[str, Any], labels: list[str] | None = None) -> dict[str, Any]:
    """A checkpoint's configuration, flat, of few mel features unless blocks are given."""
    jasper = list(blocks) or [block(8, 5, stride=[2]), block(8, 5, 2, residual=True)]
    modules = "nemo.collections.asr.modules"
    return {
        "labels": labels or ENGLISH,
        "preprocessor": {"_target_": f"{modules}.AudioToMelSpectrogramPreprocessor", "features": 64},
        "encoder": {"_target_": f"{modules}.ConvASREncoder", "feat_in": 64, "jasper": jasper},
        "decoder": {"_target_": f"{modules}.ConvASRDecoder", "feat_in": jasper[-1]["filters"]},
    }


def changed(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted path; numbers are positions in lists."""
    copied: Any = copy.deepcopy(dict(config))
    found: Any = copied
    *way, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    for name in way:
        found = found[name]
    found[last] = value
    return dict(copied)


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights under which a clip's frames differ: seeded, with filters that let all bands through."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = Network(config_of(config)).state_dict()
        for key, tensor in weights.items():
            if key.endswith(".window"):
                tensor.copy_(torch.hann_window(len(tensor), periodic=False))
            elif key.endswith(".fb"):
                tensor.uniform_(0, 0.01)
            elif key.endswith(("running_mean", "running_var")):
                tensor.uniform_(0.5, 1)
    return weights


def nemo_file(
    path: Path, config: Any, weights: Any = None, *, mode: str = "w:gz", legacy: bool = False
) -> Path:
    """Write a checkpoint; random weights where none are given."""
    pickled = io.BytesIO()
    torch.save(
        random_weights(config) if weights is None else weights,
        pickled,
        _use_new_zipfile_serialization=not legacy,
    )
    members = {
        "./model_config.yaml": yaml.safe_dump(config, allow_unicode=True).encode(),
        "./model_weights.ckpt": pickled.getvalue(),
    }
    return archive(path, members, mode=mode)


def archive(path: Path, members: Mapping[str, bytes], *, mode: str = "w") -> Path:
    """Write a tar archive of these files."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload] # a mode in a variable
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
