"""What a reply bears of its request's headers, on every transport.

Some client libraries know their replies again by a header of theirs in the place of the `correlation_id`.
"""

from __future__ import annotations

from collections.abc import Mapping

REQUEST_ID_HEADER = "x-request-id"
"""In any spelling; it comes back in the producer's."""

LONGEST_ID = 1024
"""Bytes (characters, of a text) of one that comes back; no longer one tells requests apart."""


def ids_of(headers: Mapping[str, object]) -> dict[str, object]:
    """Those of a request's headers that its reply bears too."""
    return {
        name: value
        for name, value in headers.items()
        if len(name) == len(REQUEST_ID_HEADER)
        and name.lower() == REQUEST_ID_HEADER
        and not (isinstance(value, str | bytes | bytearray | list | Mapping) and len(value) > LONGEST_ID)
    }
