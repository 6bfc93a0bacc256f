"""Paths of the settings, as meant where the command was started: a service may change the directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._shared import ConnectionSettings

SettingsT = TypeVar("SettingsT")

PATHS = frozenset({"FILE", "DIRECTORY", "PLACE"})
"""Metavars of settings that name a file or a directory."""

OF_URL = frozenset({"cafile", "capath", "certfile", "keyfile"})
"""Parameters of the broker's URL that do."""


def anchored(settings: SettingsT, directory: Path | None = None) -> SettingsT:
    """The settings with absolute paths, as meant in that directory.

    Without one it is the working directory, and to be called before anything of the user's is imported.
    """
    directory = directory or Path.cwd()
    settings_of = declared(type(settings)).items()
    found = {key: getattr(settings, key) for key, (_, each, _) in settings_of if each.metavar in PATHS}
    paths: dict[str, Any] = {
        key: str(directory / value)
        for key, value in found.items()
        if isinstance(value, str) and _is_relative(value)
    }
    paths |= {
        key: tuple(str(directory / each) if _is_relative(each) else each for each in value)
        for key, value in found.items()
        if isinstance(value, tuple)
    }
    if isinstance(settings, ConnectionSettings):
        paths["url"] = _with_absolute_files(settings.url, directory)
    return replace(settings, **paths)  # type: ignore[type-var] # a dataclass


def _is_relative(value: str) -> bool:
    """Not so `off`, which is no path, and `s3://bucket`."""
    return value != "off" and "://" not in value


def _with_absolute_files(url: str, directory: Path) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # it is refused later, without being shown
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(key in OF_URL and not Path(value).is_absolute() for key, value in pairs):
        return url
    absolute = [(key, str(directory / value) if key in OF_URL else value) for key, value in pairs]
    return parts._replace(query=urlencode(absolute, quote_via=quote, safe="/")).geturl()
