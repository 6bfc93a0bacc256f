"""How many values a reply holds, counted before they are made: one byte may become a hundred in memory."""

from __future__ import annotations

from collections.abc import Iterator

MOST_ITEMS = 2_000_000
"""Values in one reply; to make them takes a second, and some 200 MB."""

FEW = 2**20
"""Bytes. The values of a reply that has no more are not counted: to make them takes half a second at most."""

FIXED = {
    **dict.fromkeys((0xC0, 0xC2, 0xC3), 0),
    **dict.fromkeys((0xCC, 0xD0), 1),
    **dict.fromkeys((0xCD, 0xD1), 2),
    **dict.fromkeys((0xCA, 0xCE, 0xD2), 4),
    **dict.fromkeys((0xCB, 0xCF, 0xD3), 8),
    **{0xD4 + power: 1 + 2**power for power in range(5)},
}
"""MessagePack's types of a fixed size, and how many bytes follow the first one."""

SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)} | {
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
"""Types that begin with their length: in how many bytes, and how many bytes there are besides."""

COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Types that begin with a count: in how many bytes, and how many values each counted one is."""


def holds_too_many(body: bytes, coding: str) -> bool:
    """Whether a reply holds more values than the gateway decodes. What can't be decoded holds few."""
    if len(body) <= FEW:
        return False
    if coding == "json":
        return sum(map(body.count, (b",", b"[", b"{"))) > MOST_ITEMS
    return any(count > MOST_ITEMS for count in _promised(body))


def _promised(body: bytes) -> Iterator[int]:
    """How many values there must be, as far as has been read."""
    position, read, promised = 0, 0, 1
    while read < promised and position < len(body):
        kind = body[position]
        position += 1
        read += 1
        more = 0
        if kind < 0x80 or kind >= 0xE0:  # noqa: PLR2004 - a small integer
            continue
        if kind < 0x90:  # noqa: PLR2004 - a short map
            more = 2 * (kind & 0x0F)
        elif kind < 0xA0:  # noqa: PLR2004 - a short array
            more = kind & 0x0F
        elif kind < 0xC0:  # noqa: PLR2004 - a short text
            position += kind & 0x1F
        elif kind in COUNTED:
            width, each = COUNTED[kind]
            more = each * int.from_bytes(body[position : position + width])
            position += width
        elif kind in SIZED:
            width, extra = SIZED[kind]
            position += width + extra + int.from_bytes(body[position : position + width])
        else:
            position += FIXED.get(kind, 0)
        if more:
            promised += more
            yield promised
