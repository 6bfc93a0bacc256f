"""A `.nemo` file: a tar archive, gzipped or plain, of a configuration in YAML and weights from torch.

Nothing is written to disk, and no member's path is followed: the two members are found by their base names
and read into memory, up to a limit. The weights are a pickle, which torch reads with `weights_only`: it
makes tensors and runs nothing.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rpcb_trio import SettingError

try:
    import torch
    import yaml
except ModuleNotFoundError as missing:
    raise SettingError(f"QuartzNet needs {missing.name}: pip install 'rpcb-trio[quartznet]'") from missing

_CONFIG: Final = "model_config.yaml"
_WEIGHTS: Final = "model_weights.ckpt"
_MAX_ARCHIVE: Final = 2 * 2**30  # bytes once unpacked; the largest public Jasper has 1.3 GB
_MAX_CONFIG: Final = 4 * 2**20  # bytes; six thousand Chinese labels, twice, have 0.1 MB
_GZIP_MARK: Final = b"\x1f\x8b"


@dataclass(frozen=True)
class Checkpoint:
    """What a `.nemo` file holds: its configuration as YAML has it, and its tensors by their keys."""

    config: dict[str, Any]
    weights: dict[str, torch.Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.nemo` file.

    Raises:
        rpcb_trio.SettingError: the file is missing, no tar archive, cut short or beyond a limit, or its
            configuration or weights are missing or can't be read.
    """
    try:
        members = _members(_unpacked(path))
        return Checkpoint(_config(members), _weights(members))
    except _Unusable as error:
        raise SettingError(f"{path} is no usable .nemo file: {error}") from error


class _Unusable(Exception):
    """Why, in one line."""


def _unpacked(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.peek(len(_GZIP_MARK)).startswith(_GZIP_MARK)
            source = gzip.GzipFile(fileobj=file) if packed else file
            content = source.read(_MAX_ARCHIVE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _Unusable("its gzip data is damaged or cut short") from error
    except OSError as error:
        raise SettingError(f"the checkpoint {path} can't be read: {error.strerror}") from error
    if len(content) > _MAX_ARCHIVE:
        raise _Unusable(f"it holds more than {_MAX_ARCHIVE} bytes")
    return content


def _members(archive: bytes) -> dict[str, bytes]:
    """The archive's regular files that matter, by base name; the first of each name."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in {_CONFIG, _WEIGHTS} and name not in found:
                    file = tar.extractfile(member)
                    found[name] = file.read() if file else b""
                    if len(found[name]) < member.size:
                        raise _Unusable(f"it is cut short within {name}")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _Unusable(f"it is no tar archive, or damaged ({error})") from error
    for name in (_CONFIG, _WEIGHTS):
        if name not in found:
            raise _Unusable(f"there is no {name} in it")
    return found


def _config(members: Mapping[str, bytes]) -> dict[str, Any]:
    if len(members[_CONFIG]) > _MAX_CONFIG:
        raise _Unusable(f"its {_CONFIG} has more than {_MAX_CONFIG} bytes")
    try:
        config = yaml.safe_load(members[_CONFIG])
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _Unusable(f"its {_CONFIG} is no YAML ({_first_line(error)})") from error
    if not isinstance(config, dict):
        raise _Unusable(f"its {_CONFIG} is no map")
    return config


def _weights(members: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    try:
        weights = torch.load(io.BytesIO(members[_WEIGHTS]), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle raises whatever it likes
        raise _Unusable(f"its {_WEIGHTS} can't be read as weights alone ({_first_line(error)})") from error
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in weights.items()
    ):
        raise _Unusable(f"its {_WEIGHTS} holds something else than tensors by key")
    return dict(weights)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
