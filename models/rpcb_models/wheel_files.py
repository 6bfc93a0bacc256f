"""Model files that travel in another project's wheel, opened as files; the code beside them is not run."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from rpcb_trio import SettingError


def wheel_files(package: str, folder: str, sha256: Mapping[str, str], *, remedy: str) -> dict[str, Path]:
    """Find the files of an installed wheel and check that they are the ones expected.

    Args:
        package: The wheel's top-level import name; it is not imported.
        folder: Where in the package the files lie.
        sha256: File name -> hexadecimal hash.
        remedy: The command that installs the right wheel, for the error's text.

    Returns:
        File name -> path.

    Raises:
        rpcb_trio.SettingError: the package or a file is missing, or a file is another one.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SettingError(f"{package} is not installed: {remedy}")
    root = Path(spec.submodule_search_locations[0]) / folder
    for name, expected in sha256.items():
        path = root / name
        if not path.is_file():
            raise SettingError(f"{package} lacks {folder}/{name}, so it is another version: {remedy}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise SettingError(f"{path} is not the file expected (sha256 {found[:12]}…): {remedy}")
    return {name: root / name for name in sha256}
