"""Texts and field tables, as AMQP 0-9-1 writes them (section 4.2.5), with RabbitMQ's types of fields.

Tables are read here, in one pass: pamqp copies the rest of a table for each of its fields, so that one
message with a frame full of them would hold up the event loop for a good part of a second. And they are
written here, for pamqp writes less than there is: no text that is not UTF-8, and floats in 32 bits, which
tell a UNIX time to 128 s only.

Numbers go out as signed 32 bits, and larger ones as signed 64: every client library reads these two. Some end
their connection over AMQP's narrower types, which pamqp prefers. What is passed on goes out in the types that
it came in: a table that was read keeps its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

LONGEST_SHORT: Final = 255
"""Bytes of a short string."""

LAST_DATE: Final = 253402300799
"""The end of the year 9999, in UNIX seconds."""

_SIZE = struct.Struct(">I")
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_DOUBLE = struct.Struct(">d")


class Unsendable(ValueError):
    """Properties or an address that AMQP can't carry."""


class Table(dict[str, object]):
    """A table that came over the wire. Its fields are written as they came, so they may not be changed."""

    written: bytes
    """Its fields as they came, with their types; without those that are `added`."""
    added: Mapping[str, object] = {}
    """Fields of ours."""

    def fields(self) -> Iterator[tuple[str, bytes]]:
        """The name of each field that came, and all of its bytes."""
        data, at = self.written, 0
        while at < len(data):
            start = at + 1 + data[at]
            _, stop = _read_field(data, start, len(data))
            yield data[at + 1 : start].decode(), data[at:stop]
            at = stop

    def amended(self, own: Mapping[str, object], keeps: Callable[[str, bytes], bool]) -> Table:
        """Those of its fields that `keeps` is true for, by name and bytes, and behind them our `own`."""
        kept = [(name, field) for name, field in self.fields() if name not in own and keeps(name, field)]
        made = Table({name: self[name] for name, _ in kept} | dict(own))
        made.written = b"".join(field for _, field in kept)
        made.added = own
        return made


def short_string(text: str) -> bytes:
    """A text of at most 255 bytes, behind its size.

    Raises:
        Unsendable: it is longer, or no text that UTF-8 can write.
    """
    try:
        content = text.encode()
    except (UnicodeEncodeError, AttributeError) as exc:
        raise Unsendable(str(exc)) from exc
    size = len(content)
    if size > LONGEST_SHORT:
        raise Unsendable(f"{text[:20]!r}... has {size} bytes, and AMQP carries {LONGEST_SHORT}")
    return b"%c%b" % (size, content)


def write_table(entries: Mapping[str, object]) -> bytes:
    """A table, behind its size.

    Raises:
        ValueError, TypeError, ArithmeticError, RecursionError, struct.error: AMQP can't carry it.
    """
    if type(entries) is Table:
        return _sized(entries.written + _write_fields(entries.added))
    return _sized(_write_fields(entries))


def _write_fields(entries: Mapping[str, object]) -> bytes:
    return b"".join(short_string(name) + _write_field(value) for name, value in entries.items())


def _write_field(value: object) -> bytes:
    if isinstance(value, Mapping):
        return b"F" + write_table(value)
    if isinstance(value, list):
        return b"A" + _sized(b"".join(map(_write_field, value)))
    if isinstance(value, str | bytes):
        return b"S" + _sized(value.encode() if isinstance(value, str) else value)
    if isinstance(value, float):
        return b"d" + _DOUBLE.pack(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return b"I" + _INT.pack(value) if -(2**31) <= value < 2**31 else b"l" + _LONG.pack(value)
    return _rarer_field(value)


def _rarer_field(value: object) -> bytes:
    from pamqp import encode  # noqa: PLC0415, TID251 - a program without such fields need not load it

    return encode.encode_table_value(value)  # type: ignore[arg-type] # pamqp checks it


def _sized(content: bytes) -> bytes:
    return _SIZE.pack(len(content)) + content


def read_table(data: bytes, at: int, stop: int) -> Table:
    """Read the table that stands in `data[at:stop]`, behind its size.

    Raises:
        ValueError, LookupError, struct.error, RecursionError: it is not valid AMQP.
    """
    entries = Table()
    entries.written = data[at:stop]
    _read_fields(entries, data, at, stop)
    return entries


def _read_inner_table(data: bytes, at: int, stop: int) -> dict[str, object]:
    """One within another, whose bytes have it."""
    entries: dict[str, object] = {}
    _read_fields(entries, data, at, stop)
    return entries


def _read_fields(entries: dict[str, object], data: bytes, at: int, stop: int) -> None:
    while at < stop:
        start = at + 1 + data[at]
        name = data[at + 1 : start].decode()
        entries[name], at = _read_field(data, start, stop)
    _check_end(at, stop)


def _read_list(data: bytes, at: int, stop: int) -> list[object]:
    values: list[object] = []
    while at < stop:
        value, at = _read_field(data, at, stop)
        values.append(value)
    _check_end(at, stop)
    return values


def _check_end(at: int, stop: int) -> None:
    if at > stop:
        raise ValueError("a field that is longer than what it stands in")


def _read_text(data: bytes, at: int, stop: int) -> str | bytes:
    text = data[at:stop]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _read_bytes(data: bytes, at: int, stop: int) -> bytearray:
    return bytearray(data[at:stop])


def _read_field(data: bytes, at: int, stop: int) -> tuple[object, int]:
    kind = data[at]
    read = _SIZED.get(kind)
    if read is not None:
        start = at + 1 + _SIZE.size
        end: int = start + _SIZE.unpack_from(data, at + 1)[0]
        _check_end(end, stop)
        return read(data, start, end), end
    form, made = _FIXED[kind]
    return made(*form.unpack_from(data, at + 1)), at + 1 + form.size


def _itself(value: object) -> object:
    return value


def _nothing() -> None:
    return None


def _decimal(places: int, digits: int) -> Decimal:
    return Decimal(digits).scaleb(-places)


def _date(seconds: int) -> datetime | int:
    """What is no date stays the number it is: some write milliseconds."""
    return datetime.fromtimestamp(seconds, tz=UTC) if 0 <= seconds <= LAST_DATE else seconds


_SIZED: Final[dict[int, Callable[[bytes, int, int], object]]] = {
    ord("S"): _read_text,
    ord("x"): _read_bytes,
    ord("A"): _read_list,
    ord("F"): _read_inner_table,
}
"""By the letter of a field's type."""

_FIXED: Final[dict[int, tuple[struct.Struct, Callable[..., object]]]] = {
    **{
        ord(kind): (struct.Struct(f">{form}"), _itself)
        for kind, form in zip("tbBsuIilLfd", "?bBhHiIqqfd", strict=True)
    },
    ord("D"): (struct.Struct(">Bi"), _decimal),
    ord("T"): (struct.Struct(">q"), _date),
    ord("V"): (struct.Struct(""), _nothing),
    0: (struct.Struct(""), _nothing),
}
"""The same, for those that need no size."""
