"""From a form's values to a request's body."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field, Plain, Route

Value = bytes | Plain
"""Of a form's field; files are bytes."""

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""As programs write them; Python itself takes other scripts' digits, blanks and underscores too."""

MISSING_MESSAGE = "参数缺失: name={}"
JAVA_TYPES = {"text": "String", "integer": "Integer", "number": "Double", "boolean": "Boolean"}
"""What rabbit-rpc-client says of a form that lacks a field; of a file it names no type."""

TRUTHS = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}


def parsed(name: str, field: Field, text: str) -> Plain:
    """A field's value from what was sent as a text.

    Raises:
        Problem: 422, for it is none.
    """
    try:
        text.encode()  # a form's charset may make halves of UTF-16's pairs of it, which no wire takes
        match field.type:
            case "integer":
                return int(_like(INTEGER, text))
            case "number":
                return _finite(float(_like(NUMBER, text)))
            case "boolean":
                return TRUTHS[text.lower()]
            case _:
                pass
    except (ValueError, KeyError):
        raise wrong(name, f"{text[:40]!r} is no {field.type}") from None
    if field.choices and text not in field.choices:
        raise wrong(name, f"{text[:40]!r} is none of {', '.join(field.choices)}")
    return text


def typed(name: str, field: Field, value: object) -> Plain:
    """A field's value from what stands in a JSON object; numbers may be written as texts, as in a form.

    Raises:
        Problem: 422, for it is none.
    """
    if isinstance(value, str):
        return parsed(name, field, value)
    is_right = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
    }
    if not is_right.get(field.type, False) or not isinstance(value, int | float):
        raise wrong(name, f"the JSON holds no {field.type} there")
    return value


def _like(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("it is written in another way")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("JSON has none of these")
    return number


def complete(
    form: Mapping[str, Field], values: Mapping[str, Value], *, has_files: bool = True
) -> dict[str, Value]:
    """All values, in the form's order, with the defaults of those that were not sent.

    Args:
        form: the fields.
        values: what was sent.
        has_files: whether files could be sent at all, in the way that the form was.

    Raises:
        Problem: 422, for one is missing.
    """
    whole: dict[str, Value] = {}
    for name, field in form.items():
        if name in values:
            whole[name] = values[name]
        elif field.default is not None:
            whole[name] = field.default
        elif field.is_required:
            message = missing_message(name, field) if has_files or field.type != "file" else None
            raise wrong(name, f"it is missing; send it as a {field.type}", message)
    return whole


def missing_message(name: str, field: Field) -> str:
    """What an envelope says where a field is missing."""
    kind = JAVA_TYPES.get(field.type)
    return field.missing or MISSING_MESSAGE.format(name) + (f" type={kind}" if kind else "")


def wrong(field: str, why: str, message: str | None = None) -> Problem:
    """A form that is wrong in one field; `message` is what an envelope says of it."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "form", f"{field}: {why}", field=field, message=message)


def to_body(route: Route, values: Mapping[str, Value]) -> bytes:
    """The request as the service reads it.

    Raises:
        Problem: 422, for a number is too large.
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
