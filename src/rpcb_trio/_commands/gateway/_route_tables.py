"""The tables of the gateway's routes: those of the file, and what `--preset` adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._values import split_pair


def route_tables(
    written: Mapping[str, Mapping[str, Any]], settings: GatewaySettings
) -> dict[str, dict[str, Any]]:
    """The tables by their names; a preset goes into the table of its name, or makes one.

    Raises:
        SettingError: a preset is not written as a pair.
    """
    tables = {name: {**table} for name, table in written.items()}
    for pair in settings.preset:
        name, preset = split_pair("--preset", pair, "NAME=PRESET")
        tables.setdefault(name, {})["preset"] = preset
    return tables
