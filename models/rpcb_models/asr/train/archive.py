"""A network -> a `.nemo` file, as NeMo lays one out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from rpcb_models.asr.quartznet._network import Network


def write_nemo(path: Path, config: Mapping[str, Any], network: Network) -> None:
    """Write a gzipped tar of `model_config.yaml` and `model_weights.ckpt`, in float32.

    Args:
        path: The file; what stands there is replaced as a whole.
        config: What the network was built of.
        network: Its weights go by the keys they have in NeMo.
    """
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    beside = path.with_name(f"{path.name}.part")
    with tarfile.open(beside, "w:gz") as archive:
        _add(archive, "./model_config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())
        _add(archive, "./model_weights.ckpt", weights.getvalue())
    beside.replace(path)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
