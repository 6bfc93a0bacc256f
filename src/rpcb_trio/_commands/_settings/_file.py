"""`rpcb.toml`: settings of the process, defaults for its workers, and the workers.

queue = "asr"                 # a key at the top holds for every worker
log_level = "debug"

[workers.english]             # a worker's own key comes first
target = "rpcb_models.asr:service"
max_batch_size = 16

[gateway]                     # settings of the gateway, and its routes
port = 8083

[routes.asr]
queue = "asr"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import (
    ControlSettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    Target,
)
from rpcb_trio._commands._settings._text import read_text
from rpcb_trio._gateway import file_of
from rpcb_trio._shown import did_you_mean
from rpcb_trio.errors import SettingError

DEFAULT = Path("rpcb.toml")
HERE = Path()

MISTYPED = re.compile(r"Expected `(\w+)(?: \| null)?`, got `\w+`")
TOML_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
}

TABLES = ("workers", "gateway", "routes")
OF_TABLES = (
    "a worker's settings stand at the top or in [workers.NAME], the gateway's in [gateway] and [routes.NAME]"
)

Table = Mapping[str, Any]
"""Values by their keys."""


@dataclass(frozen=True, kw_only=True)
class WorkerTable(Settings):
    """What `[workers.NAME]` may hold."""

    target: Target = None


@dataclass(frozen=True, kw_only=True)
class FileTable(WorkerTable, LogSettings, HealthSettings, MetricsSettings, ControlSettings):
    """What the file itself may hold, besides the tables."""


@dataclass(frozen=True)
class SettingsFile:
    """A file that was read and checked. A missing file is like an empty one."""

    name: str = str(DEFAULT)
    top: Table = field(default_factory=dict)
    workers: Mapping[str, Table] = field(default_factory=dict)
    gateway: Table = field(default_factory=dict)
    routes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    is_there: bool = True

    def select(self, names: Sequence[str]) -> list[str]:
        """The workers to run: those that are named, or all.

        Raises:
            SettingError: there is no worker of such a name.
        """
        for name in names:
            if name not in self.workers:
                hint = (
                    did_you_mean(name, self.workers) or f"; it has {', '.join(self.workers) or 'no workers'}"
                )
                raise SettingError(f"--worker {name}: {self.name} has no table [workers.{name}]{hint}")
        return list(dict.fromkeys(names or self.workers))


OF_PROCESS = (LogSettings, HealthSettings, MetricsSettings, ControlSettings)
"""What all workers of a process share."""


def read_file(path: Path | None, directory: Path = HERE) -> SettingsFile:
    """Read and check the file that was named, or else `rpcb.toml` if there is one, in that directory.

    A name like `PACKAGE:FILE` is that of a file in an installed package.

    Raises:
        SettingError: it can't be read, or something in it is wrong.
    """
    name = str(path or DEFAULT)
    if path is not None and ":" in name and not (directory / path).exists():
        path = file_of("--config", name)
    try:
        top = tomllib.loads(read_text(directory / (path or DEFAULT)))
    except FileNotFoundError:
        if path is not None:
            raise SettingError(f"{name}: there is no such file; --config or RPCB_CONFIG names it") from None
        return SettingsFile(is_there=False)
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from None
    except RecursionError:
        raise SettingError(f"{name}: it can't be read: it is nested too deeply") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{name}: it can't be read: {error}") from error
    workers, gateway, routes = (_tables(name, key, top.pop(key, {})) for key in TABLES)
    return SettingsFile(
        name,
        _values(top, FileTable, name),
        {
            each: _values(_tables(name, f"workers.{each}", table), WorkerTable, f"{name} [workers.{each}]")
            for each, table in workers.items()
        },
        _values(gateway, GatewaySettings, f"{name} [gateway]"),
        {each: _tables(name, f"routes.{each}", table) for each, table in routes.items()},
    )


def _tables(name: str, key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingError(f"{name}: {key} = {_shown(value)}: write it as a table, [{key}]")
    return value


def _values(table: Table, model: type, where: str) -> Table:
    """The values of a table as its settings take them."""
    settings, found = declared(model), {}
    for key, value in table.items():
        if key not in settings:
            what = f"table [{key}]" if isinstance(value, dict) else f"key {key}"
            raise SettingError(f"{where}: there is no {what}{_remedy(key, value, settings)}")
        kind, _, reader = settings[key]
        try:
            found[key] = reader.of_toml(kind, value)
        except ValueError as error:
            shown = "***" if reader.is_secret else _shown(value)
            reason = (
                f"choose from {', '.join(get_args(kind))}"
                if get_origin(kind) is Literal
                else _plainly(str(error).partition(" - at ")[0]).removeprefix(f"{value}: ")
            )
            raise SettingError(f"{where}: {key} = {shown}: {reason}") from error
    return found


def _plainly(reason: str) -> str:
    """Msgspec's words for a value of another type, without Python's names for types."""
    found = MISTYPED.fullmatch(reason)
    return reason.removesuffix(".") if found is None else f"it must be {TOML_TYPES.get(found[1], found[1])}"


def _remedy(key: str, value: object, settings: Mapping[str, object]) -> str:
    if isinstance(value, dict):
        return did_you_mean(key, TABLES) or "; " + OF_TABLES
    if any(key in declared(table) for table in OF_PROCESS):
        return "; it is for the whole process, so it stands above all tables"
    return did_you_mean(key, settings) or "; rpcb-trio serve --help-all lists them all"


def _shown(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
