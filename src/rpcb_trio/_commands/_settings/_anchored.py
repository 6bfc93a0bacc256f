"""Paths of the settings, as meant where the command was started: a service may change the directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._shared import ConnectionSettings

SettingsT = TypeVar("SettingsT", bound=ConnectionSettings)

PATHS = frozenset({"FILE", "DIRECTORY", "PLACE"})
"""Metavars of settings that name a file or a directory."""

OF_URL = frozenset({"cafile", "capath", "certfile", "keyfile"})
"""Parameters of the broker's URL that do."""


def anchored(settings: SettingsT) -> SettingsT:
    """The settings with absolute paths; to be called before anything of the user's is imported."""
    settings_of = declared(type(settings)).items()
    found = {key: getattr(settings, key) for key, (_, each, _) in settings_of if each.metavar in PATHS}
    paths: dict[str, Any] = {
        key: str(Path(value).absolute()) for key, value in found.items() if _is_relative(value)
    }
    return replace(settings, url=_with_absolute_files(settings.url), **paths)


def _is_relative(value: str | None) -> bool:
    """Not so `off`, which is no path, and `s3://bucket`."""
    return value not in (None, "off") and "://" not in str(value)


def _with_absolute_files(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # it is refused later, without being shown
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(key in OF_URL and not Path(value).is_absolute() for key, value in pairs):
        return url
    absolute = [(key, str(Path(value).absolute()) if key in OF_URL else value) for key, value in pairs]
    return parts._replace(query=urlencode(absolute, quote_via=quote, safe="/")).geturl()
