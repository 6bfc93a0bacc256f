"""A form's fields from a request's body, in each of the ways in which they may be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from rpcb_trio._gateway._bodies import Value, missing_message, parsed, typed, wrong
from rpcb_trio._gateway._multipart import LONGEST_TEXT, MOST_PARTS, Multipart, no_form
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Field

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"

LONGEST_TEXTS = 4 * 2**20
"""Bytes of a form that has no files."""

Fields = Mapping[str, Field]


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


def of_query(query: bytes, fields: Fields) -> dict[str, Value]:
    """The values that stand in the URL, as rabbit-rpc-client's users may send them; of files there are none.

    Raises:
        Problem: one makes no sense.
    """
    texts = {name: field for name, field in fields.items() if field.type != "file"}
    return _of_pairs(_pairs(query), texts)


def of_urlencoded(body: bytes, fields: Fields) -> dict[str, Value]:
    """The values in such a body.

    Raises:
        Problem: one makes no sense.
    """
    return _of_pairs(_pairs(body), fields)


def of_json(body: bytes, fields: Fields) -> dict[str, Value]:
    """The values in a JSON object; null stands for a field that is not sent.

    Raises:
        Problem: it is none, or one makes no sense.
    """
    try:
        whole = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise no_form(str(error)) from None
    if not isinstance(whole, dict):
        raise no_form("it is JSON, but no object")
    return {
        name: typed(name, field, whole[name]) for name, field in fields.items() if whole.get(name) is not None
    }


def of_multipart(form: Multipart, fields: Fields) -> dict[str, Value]:
    """The values in a form that was read to its end; of several of one name the first counts.

    Raises:
        Problem: one makes no sense.
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
            why = "it is sent as a text; send it as a file"
            raise wrong(part.name, why, missing_message(part.name, field))
        else:
            values[part.name] = parsed(part.name, field, form.text_of(part))
    return values


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(
            text.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_PARTS
        )
    except ValueError as error:
        raise no_form(f"it has more than {MOST_PARTS} fields") from error


def _of_pairs(pairs: Iterator[tuple[str, str]], fields: Fields) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, text in pairs:
        if name in fields and name not in values:
            if len(text) > LONGEST_TEXT:
                raise wrong(name, f"it has more than {LONGEST_TEXT} letters")
            values[name] = _of_text(name, fields[name], text)
    return values


def _of_text(name: str, field: Field, text: str) -> Value:
    if field.type == "file":
        raise wrong(name, "it is sent as a text; send it as a file")
    return parsed(name, field, text)
