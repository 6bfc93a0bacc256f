"""The tables of the gateway's routes: those of the file, and what `--preset` adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._values import split_pairs


def route_tables(
    written: Mapping[str, Mapping[str, Any]], settings: GatewaySettings
) -> dict[str, dict[str, Any]]:
    """The tables by their names; a preset goes into the table of its name, or makes one.

    A route whose service runs in this process needs no queue: the service has one of its name.

    Raises:
        SettingError: a pair is not written as one, or two have one name.
    """
    tables = {name: {**table} for name, table in written.items()}
    for name, preset in split_pairs("--preset", settings.preset, "NAME=PRESET").items():
        tables.setdefault(name, {})["preset"] = preset
    for name in split_pairs("--serve", settings.serve, "NAME=MODULE:ATTRIBUTE"):
        if name in tables and not tables[name].keys() & {"queue", "exchange", "routing_key", "parts"}:
            tables[name]["queue"] = name
    return tables
