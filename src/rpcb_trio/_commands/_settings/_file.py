"""`rpcb.toml`: settings of the process, defaults for its workers, and the workers.

queue = "asr"                 # a key of the file itself holds for every worker
log_level = "debug"

[workers.english]             # what a worker says of itself comes first
target = "rpcb_models.asr:service"
max_batch_size = 16

[gateway]                     # settings of the gateway, and what it answers
port = 8083

[routes.asr]
queue = "asr"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from cyclopts import App, Argument, ArgumentCollection, Token
from cyclopts.config import Dict

from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import ConnectionSettings, LogSettings
from rpcb_trio._commands._settings._text_files import read_text
from rpcb_trio._commands.gateway._settings import GatewaySettings
from rpcb_trio._commands.health._command import HealthSettings
from rpcb_trio._commands.serve._target import did_you_mean
from rpcb_trio._errors import SettingError

DEFAULT = Path("rpcb.toml")


@dataclass(frozen=True, kw_only=True)
class WorkerTable(Settings):
    """What `[workers.NAME]` may hold."""

    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileTable(WorkerTable, LogSettings, HealthSettings):
    """What the file itself may hold."""

    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    gateway: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SettingsFile:
    """A file that was read and checked. One that is not there is as one that is empty."""

    name: str
    top: Mapping[str, Any]
    workers: Mapping[str, Mapping[str, Any]]
    gateway: Mapping[str, Any]
    routes: Mapping[str, Mapping[str, Any]]

    def layers(self, worker: str | None, command: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Where settings come from, and what they are; what is said first holds."""
        if command == "gateway":
            yield f"{self.name} [gateway]", self.gateway
        if worker is not None:
            yield f"{self.name} [workers.{worker}]", self.workers[worker]
        shared = self.top if worker or not self.workers else {**self.top, "target": None}
        yield self.name, {key: value for key, value in shared.items() if value is not None}

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


@dataclass(frozen=True)
class FileLayer:
    """Fills in, from the file, what neither a flag nor a variable said; for one worker or for none yet."""

    worker: str | None = None

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Called by cyclopts once flags and variables are read."""
        config = arguments.get("--config", None)
        if config is None:
            return
        file = read_file(Path(config.tokens[0].value) if config.tokens else None)
        taken = {_key(each) for each in arguments if each.keys or _key(each) in BESIDES}
        said = {key: each for each in arguments if (key := _key(each)) in PAIRS and each.tokens}
        for source, table in file.layers(self.worker, commands[0] if commands else ""):
            known = {key: value for key, value in table.items() if key in taken}
            for key in said.keys() & known.keys():
                _join_pairs(said.pop(key), known.pop(key), source)
            Dict(known, source=source, use_commands_as_keys=False)(app, commands, arguments)


PAIRS = ("option", "queue_argument")
"""Lists of NAME=VALUE: a flag or a variable replaces the file's one of its name, and leaves the others."""

BESIDES = ("target", "queue")
"""What commands take from the file besides the fields of their settings."""


def read_file(path: Path | None) -> SettingsFile:
    """Read and check the file that was named, or else `rpcb.toml` if there is one.

    Raises:
        SettingError: it can't be read, or something in it is wrong.
    """
    name = str(path or DEFAULT)
    try:
        top = tomllib.loads(read_text(path or DEFAULT))
    except FileNotFoundError:
        if path is not None:
            raise SettingError(f"{name}: there is no such file; --config or RPCB_CONFIG names it") from None
        top = {}
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from None
    except RecursionError:
        raise SettingError(f"{name}: it can't be read: it is nested too deeply") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{name}: it can't be read: {error}") from error
    _check(top, FileTable, name)
    workers = top.pop("workers", {})
    for worker, table in workers.items():
        _check(table, WorkerTable, f"{name} [workers.{worker}]")
    gateway = top.pop("gateway", {})
    _check(gateway, GatewaySettings, f"{name} [gateway]")
    return SettingsFile(name, top, workers, gateway, top.pop("routes", {}))


def _join_pairs(argument: Argument, pairs: Sequence[object], source: str) -> None:
    """Add a table's pairs to those that a flag or a variable said, which come first."""
    named = {token.value.partition("=")[0] for token in argument.tokens}
    for pair in map(str, pairs):
        if pair.partition("=")[0] not in named:
            index = len(argument.tokens)
            argument.append(Token(keyword=argument.name, value=pair, source=source, index=index))


def _key(argument: Argument) -> str:
    return argument.name.lstrip("-").replace("-", "_")


def _check(table: Mapping[str, Any], model: type[ConnectionSettings], where: str) -> None:
    types = get_type_hints(model)
    for key, value in table.items():
        if key not in types:
            raise SettingError(f"{where}: there is no key {key}{_remedy(key, types)}")
        try:
            msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            choices = get_args(types[key]) if get_origin(types[key]) is Literal else ()
            reason = f"choose from {', '.join(choices)}" if choices else str(error).partition(" - at ")[0]
            told = "***" if key == "password" else _shown(value)
            raise SettingError(f"{where}: {key} = {told}: {reason}") from error


def _remedy(key: str, types: Mapping[str, Any]) -> str:
    if key in get_type_hints(LogSettings) | get_type_hints(HealthSettings):
        return "; it is for the whole process, so it stands above all tables"
    return did_you_mean(key, types) or "; see rpcb-trio serve --help"


def _shown(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
