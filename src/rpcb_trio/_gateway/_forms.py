"""A form: its fields' values, in each of the ways in which they may be sent, and the body made of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from rpcb_trio._gateway._multipart import LONGEST_TEXT, MOST_PARTS, Multipart, no_form
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field, Plain, Route

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"

LONGEST_TEXTS = 4 * 2**20
"""Bytes of a form that has no files."""

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""As programs write them; Python itself takes other scripts' digits, blanks and underscores too."""

TRUTHS = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}

Fields = Mapping[str, Field]
Value = bytes | Plain
"""Of a field; files are bytes."""


def kind_of(content_type: str, fields: Fields) -> str:
    """In which of the three ways a form is sent.

    Raises:
        Problem: 415, in none of them; JSON holds no files.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (MULTIPART, URLENCODED):
        return kind
    has_files = any(field.type == "file" for field in fields.values())
    if (kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))) and not has_files:
        return JSON
    ways = MULTIPART if has_files else f"{MULTIPART}, {URLENCODED} or {JSON}"
    raise Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", f"this route takes a form: send it as {ways}"
    )


def of_urlencoded(body: bytes, fields: Fields) -> dict[str, Value]:
    """The values in such a body; of several of one name the first counts.

    Raises:
        Problem: a value is wrong.
    """
    values: dict[str, Value] = {}
    for name, text in _pairs(body):
        if name in fields and name not in values:
            if len(text) > LONGEST_TEXT:
                raise wrong(name, f"it has more than {LONGEST_TEXT} characters")
            if fields[name].type == "file":
                raise wrong(name, "it is sent as a text; send it as a file")
            values[name] = _parsed(name, fields[name], text)
    return values


def of_json(body: bytes, fields: Fields) -> dict[str, Value]:
    """The values in a JSON object; null stands for a field that is not sent.

    Raises:
        Problem: the body is no JSON object, or a value is wrong.
    """
    try:
        whole = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise no_form(str(error)) from None
    if not isinstance(whole, dict):
        raise no_form("it is JSON, but no object")
    return {
        name: _typed(name, field, whole[name])
        for name, field in fields.items()
        if whole.get(name) is not None
    }


def of_multipart(form: Multipart, fields: Fields) -> dict[str, Value]:
    """The values in a form that was read to its end; of several of one name the first counts.

    Raises:
        Problem: a value is wrong.
    """
    values: dict[str, Value] = {}
    for part in form.parts:
        field = fields.get(part.name)
        if field is None or part.name in values:
            continue
        if part.is_file and field.type != "file":
            raise wrong(part.name, f"it is sent as a file; send it as a {field.type}")
        if part.is_file:
            values[part.name] = b"".join(part.pieces)
            part.pieces.clear()
        elif field.type == "file":
            raise wrong(part.name, "it is sent as a text; send it as a file", is_missing=True)
        else:
            values[part.name] = _parsed(part.name, field, form.text_of(part))
    return values


def complete(form: Fields, values: Mapping[str, Value], *, has_files: bool = True) -> dict[str, Value]:
    """All values, in the form's order, with the defaults of those that were not sent.

    Args:
        form: the fields.
        values: what was sent.
        has_files: whether the way in which the form was sent can hold files at all.

    Raises:
        Problem: 422, one is missing.
    """
    whole: dict[str, Value] = {}
    for name, field in form.items():
        if name in values:
            whole[name] = values[name]
        elif field.default is not None:
            whole[name] = field.default
        elif field.is_required:
            is_missing = has_files or field.type != "file"
            raise wrong(name, f"it is missing; send it as a {field.type}", is_missing=is_missing)
    return whole


def to_body(route: Route, values: Mapping[str, Value]) -> bytes:
    """The request's body, as the service reads it.

    Raises:
        Problem: 422, a number is too large.
    """
    if route.body_coding == "bytes":
        value = next(iter(values.values()), b"")
        return value if isinstance(value, bytes) else str(value).encode()
    whole = {**values, **route.constants}
    try:
        return msgspec.json.encode(whole) if route.body_coding == "json" else msgspec.msgpack.encode(whole)
    except (OverflowError, ValueError):
        large = (name for name, value in values.items() if isinstance(value, int) and abs(value) >= 2**63)
        raise wrong(next(large, "?"), "the number is too large") from None


def truth_in(text: str) -> bool:
    """The boolean that a text stands for, in a form or in a query.

    Raises:
        ValueError: it is none; the message quotes its beginning.
    """
    try:
        return TRUTHS[text.lower()]
    except KeyError:
        raise ValueError(f"{text[:40]!r} is no boolean") from None


def wrong(field: str, why: str, *, is_missing: bool = False) -> Problem:
    """A form that is wrong in one field."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "form", f"{field}: {why}", field=field, is_missing=is_missing
    )


def _parsed(name: str, field: Field, text: str) -> Plain:
    """A field's value from a text."""
    try:
        text.encode()  # a form's charset may leave lone surrogates in it, which UTF-8 can't carry
        match field.type:
            case "integer":
                return int(_like(INTEGER, text))
            case "number":
                return _finite(float(_like(NUMBER, text)))
            case "boolean":
                return truth_in(text)
            case _:
                pass
    except ValueError:
        raise wrong(name, f"{text[:40]!r} is no {field.type}") from None
    if field.choices and text not in field.choices:
        raise wrong(name, f"{text[:40]!r} is none of {', '.join(field.choices)}")
    return text


def _typed(name: str, field: Field, value: object) -> Plain:
    """A field's value from a JSON value; numbers may be written as texts, as in other forms."""
    if isinstance(value, str):
        return _parsed(name, field, value)
    takes = {"integer": int, "number": int | float, "boolean": bool}.get(field.type, ())
    if not isinstance(value, takes) or isinstance(value, bool) != (field.type == "boolean"):
        raise wrong(name, f"the JSON holds no {field.type} there")
    return value


def _like(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("it is written in another way")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("JSON has no such number")
    return number


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(
            text.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_PARTS
        )
    except ValueError as error:
        raise no_form(f"it has more than {MOST_PARTS} fields") from error
