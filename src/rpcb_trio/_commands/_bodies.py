"""Requests' bodies, from files and from fields."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import product
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Group

from rpcb_trio._bounds import POSITIVE
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import FLAT
from rpcb_trio._commands._settings._values import SECONDS, split_pair
from rpcb_trio.errors import SettingError

REQUEST = Group("Request", sort_key=-3)

JSON, MSGPACK, OF_ANY_TYPE = "application/json", "application/msgpack", "application/octet-stream"


class Body(NamedTuple):
    """A request's, and its content type, by which a typed service reads it."""

    content: bytes
    content_type: str = OF_ANY_TYPE


@FLAT
@dataclass(frozen=True, kw_only=True)
class RequestFlags:
    """One request, besides its body as text."""

    body: Annotated[Path | None, flag(REQUEST, metavar="FILE", allow_leading_hyphen=True)] = None
    """Or: a file that holds the body; - for stdin."""
    json: Annotated[str | None, flag(REQUEST, metavar="JSON", allow_leading_hyphen=True)] = None
    """Or: this JSON; @FILE for a file's, - for stdin."""
    field: Annotated[tuple[str, ...], flag(REQUEST, metavar="NAME=VALUE", shown=False)] = ()
    """Or: the body is a msgpack map of these; NAME=@FILE takes a file's bytes. Repeatable."""
    timeout: Annotated[float, flag(REQUEST, unit=SECONDS, bounds=POSITIVE)] = 30.0
    """How long to wait for the reply."""

    def read(self, text: str | None, source: str) -> Body | None:
        """The body, from `text` (of the parameter `source`) or a flag; None if none is given.

        Raises:
            SettingError: several are given, or a file can't be read.
        """
        given = (text, self.body, self.json, self.field or None)
        if sum(each is not None for each in given) > 1:
            raise SettingError(f"give the request as one of {source}, --body, --json and --field")
        if self.json is not None:
            return read_json(self.json)
        if self.field:
            return of_fields(split_pair("--field", each) for each in self.field)
        if self.body is not None:
            return read_body("--body", self.body)
        return None if text is None else Body(text.encode())


def read_body(option: str, path: Path) -> Body:
    """What a file holds, of the type that its name ends with; `-` is stdin.

    Raises:
        SettingError: it can't be read.
    """
    if str(path) == "-":
        return Body(sys.stdin.buffer.read())
    kind, packed = (MSGPACK, None) if path.suffix == ".msgpack" else guess_type(path.name)
    return Body(_bytes_in(option, path), OF_ANY_TYPE if kind is None or packed else kind)


def _bytes_in(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"{option}: {path} can't be read: {error.strerror}") from error


def read_json(text: str) -> Body:
    """A body of JSON, as `--json` gives it: the text itself, `@FILE`, or `-` for stdin.

    Raises:
        SettingError: it is no JSON, or a file can't be read.
    """
    if text == "-":
        body = sys.stdin.buffer.read()
    else:
        body = _bytes_in("--json", Path(text[1:])) if text.startswith("@") else text.encode()
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        example = '\'{"text": "hello"}\''
        raise SettingError(f"--json: it is no JSON ({error}); quote it, as in --json {example}") from error
    return Body(body, JSON)


def of_fields(pairs: Iterable[tuple[str, str]]) -> Body:
    """A msgpack map; a value is text, or the bytes of the file that `@FILE` names.

    Raises:
        SettingError: a file can't be read.
    """
    return Body(msgspec.msgpack.encode({name: _field_value(name, value) for name, value in pairs}), MSGPACK)


def read_bodies(files: Sequence[Path], directory: Path | None, fields: Sequence[str]) -> dict[str, Body]:
    """Bodies by what they were read from: one for each file, or for each combination of the fields' values.

    Raises:
        SettingError: they were given in no way or in two, or can't be read.
    """
    if bool(files) + (directory is not None) + bool(fields) != 1:
        raise SettingError("give the requests as one of --body, --bodies and --field")
    if fields:
        return _bodies_of_fields(fields)
    if directory is not None:
        return {str(file): read_body("--bodies", file) for file in _listed(directory)}
    return {str(file): read_body("--body", file) for file in files}


def _listed(directory: Path) -> list[Path]:
    try:
        files = sorted(file for file in directory.iterdir() if file.is_file())
    except OSError as error:
        raise SettingError(f"--bodies: {directory} can't be read: {error.strerror}") from error
    shown = [file for file in files if not file.name.startswith(".")]
    if not shown:
        raise SettingError(f"--bodies: {directory} holds no files; put a request's body into each")
    return shown


def _field_value(name: str, value: str) -> str | bytes:
    return _bytes_in(f"--field {name}", Path(value[1:])) if value.startswith("@") else value


def _bodies_of_fields(fields: Sequence[str]) -> dict[str, Body]:
    """A name may be given several times, and `@PATTERN` is each file that matches."""
    values: dict[str, list[str]] = {}
    for each in fields:
        name, value = split_pair("--field", each)
        values.setdefault(name, []).extend(_matches(value))
    several = [name for name in values if len(values[name]) > 1]
    bodies: dict[str, Body] = {}
    for chosen in product(*values.values()):
        given = dict(zip(values, chosen, strict=True))
        label = ", ".join(f"{name}={given[name]}" for name in several or given)
        bodies[label] = of_fields(given.items())
    return bodies


def _matches(value: str) -> list[str]:
    if not value.startswith("@") or Path(value[1:]).exists():
        return [value]
    return [f"@{match}" for match in sorted(glob(value[1:]))] or [value]  # noqa: PTH207 - of any root
