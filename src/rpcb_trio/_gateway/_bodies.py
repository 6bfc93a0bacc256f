"""From a form's values to a request's body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field, Plain, Route

Value = bytes | Plain
"""Of a form's field; files are bytes."""

TRUTHS = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}


def parsed(name: str, field: Field, text: str) -> Plain:
    """A field's value from what was sent.

    Raises:
        Problem: 422, for it is none.
    """
    try:
        text.encode()  # a form's charset may make halves of UTF-16's pairs of it, which no wire takes
        match field.type:
            case "integer":
                return int(text)
            case "number":
                return _finite(float(text))
            case "boolean":
                return TRUTHS[text.lower()]
            case _:
                pass
    except (ValueError, KeyError):
        raise wrong(name, f"{text[:40]!r} is no {field.type}") from None
    if field.choices and text not in field.choices:
        raise wrong(name, f"{text[:40]!r} is none of {', '.join(field.choices)}")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("JSON has none of these")
    return number


def complete(form: Mapping[str, Field], values: Mapping[str, Value]) -> dict[str, Value]:
    """All values, in the form's order, with the defaults of those that were not sent.

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
            raise wrong(name, f"it is missing; send it as a {field.type}")
    return whole


def wrong(field: str, why: str) -> Problem:
    """A form that is wrong in one field."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "form", f"{field}: {why}", field=field)


def to_body(route: Route, values: Mapping[str, Value]) -> bytes:
    """The request as the service reads it.

    Raises:
        Problem: 422, for a number is too large for msgpack.
    """
    if route.body_coding == "bytes":
        value = next(iter(values.values()), b"")
        return value if isinstance(value, bytes) else str(value).encode()
    whole = {**values, **route.constants}
    try:
        return msgspec.json.encode(whole) if route.body_coding == "json" else msgspec.msgpack.encode(whole)
    except OverflowError:
        name = next(name for name, value in values.items() if isinstance(value, int) and abs(value) >= 2**63)
        raise wrong(name, "the number is too large") from None
