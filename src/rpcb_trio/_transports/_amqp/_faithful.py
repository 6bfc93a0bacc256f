"""Headers that go out as they came in.

pamqp reads more than it writes: it reads a text that is not UTF-8 as bytes and can't write those, and reads
floats of 64 bits but writes them in 32, which tell a UNIX time to 128 s only.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pamqp import encode
from pamqp.commands import Basic


class FaithfulProperties(Basic.Properties):
    """Properties whose headers may be any that pamqp can read."""

    def encode_property(self, name: str, value: object) -> bytes:
        """See pamqp."""
        if name == "headers" and isinstance(value, Mapping):
            return _table(value)
        return super().encode_property(name, value)  # type: ignore[arg-type] # pamqp checks it


def _table(entries: Mapping[str, object]) -> bytes:
    return _sized(b"".join(encode.short_string(name) + _value(value) for name, value in entries.items()))


def _value(value: object) -> bytes:
    if isinstance(value, Mapping):
        return b"F" + _table(value)
    if isinstance(value, list):
        return b"A" + _sized(b"".join(map(_value, value)))
    if isinstance(value, bytes):
        return b"S" + _sized(value)
    if isinstance(value, float):
        return b"d" + struct.pack(">d", value)
    return encode.encode_table_value(value)  # type: ignore[arg-type] # pamqp checks it


def _sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content
