"""How many values a reply holds, before they are made: a byte of it may become a hundred in memory."""

from __future__ import annotations

from collections.abc import Iterator

MOST_ITEMS = 2_000_000
"""Values in one reply; they take a second to be made, and some 200 MB."""

FEW = 2**20
"""Bytes that can't hold more than a gateway bears."""

FIXED = {
    **dict.fromkeys((0xC0, 0xC2, 0xC3), 0),
    **dict.fromkeys((0xCC, 0xD0), 1),
    **dict.fromkeys((0xCD, 0xD1), 2),
    **dict.fromkeys((0xCA, 0xCE, 0xD2), 4),
    **dict.fromkeys((0xCB, 0xCF, 0xD3), 8),
    **{0xD4 + power: 1 + 2**power for power in range(5)},
}
"""MessagePack's types of a fixed size, and how many bytes follow the first one."""

SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Those that say their size, in so many bytes; extensions have one byte more."""

EXTENSIONS = (0xC7, 0xC8, 0xC9)

COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Those that say how many they hold, in so many bytes; and how many values each of those is."""


def holds_too_many(body: bytes, coding: str) -> bool:
    """Whether a reply holds more values than may be made of it; what can't be read holds few."""
    if len(body) <= FEW:
        return False
    if coding == "json":
        return sum(map(body.count, (b",", b"[", b"{"))) > MOST_ITEMS
    return any(count > MOST_ITEMS for count in _awaited(body))


def _awaited(body: bytes) -> Iterator[int]:
    """How many values there must be, as far as has been read."""
    position, read, awaited = 0, 0, 1
    while read < awaited and position < len(body):
        kind = body[position]
        position += 1
        read += 1
        if kind < 0x80 or kind >= 0xE0:  # noqa: PLR2004 - as MessagePack has it
            continue
        if kind < 0xC0:  # noqa: PLR2004 - likewise
            position, more = _short(kind, position)
        elif kind in COUNTED:
            width, each = COUNTED[kind]
            more = each * int.from_bytes(body[position : position + width])
            position += width
        elif kind in SIZED:
            width = SIZED[kind]
            size = int.from_bytes(body[position : position + width])
            position += width + size + (kind in EXTENSIONS)
            continue
        else:
            position += FIXED.get(kind, 0)
            continue
        awaited += more
        yield awaited


def _short(kind: int, position: int) -> tuple[int, int]:
    """Of a short map, array or text: where the next value is, and how many it holds."""
    if kind < 0x90:  # noqa: PLR2004 - a map
        return position, 2 * (kind & 0x0F)
    if kind < 0xA0:  # noqa: PLR2004 - an array
        return position, kind & 0x0F
    return position + (kind & 0x1F), 0
