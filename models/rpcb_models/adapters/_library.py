"""Libraries that are imported once a service needs them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rpcb_trio import SettingError


def library(name: str, extra: str) -> Any:
    """Import a library.

    Raises:
        SettingError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SettingError(
            f"this adapter needs {error.name}; install it with pip install 'rpcb-trio-models[{extra}]'"
        ) from error


def existing(setting: str, path: str) -> Path:
    """The path of a file or a folder.

    Raises:
        SettingError: there is none.
    """
    found = Path(path)
    if not found.exists():
        raise SettingError(f"{setting} is {path}, and there is no such file; give one that is there")
    return found
