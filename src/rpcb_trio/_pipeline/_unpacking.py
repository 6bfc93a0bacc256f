"""Compressed bodies: a service gets every body plain, whatever the `content_encoding` of the request.

Many libraries write a character set into that property (Spring's `UTF-8`, kombu's `binary`); such a body is
plain already. Any other value that is not known is refused, with its name in the error. Unpacking is bounded
by the bytes that come out, so that a small body which unpacks to a huge one costs no more than a plain body
of the largest size allowed.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from io import BytesIO
from typing import Literal, TypeAlias

from rpcb_trio._claims import is_claimed
from rpcb_trio._messages import Request
from rpcb_trio.errors import BodyTooBig, DecodeError

Packing: TypeAlias = Literal["plain", "gzip", "deflate", "unknown"]

PACKINGS: dict[str, Packing] = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}

PLAIN = re.compile(
    r"identity|none|plain|binary|raw|text|[78]-?bit"
    r"|(?:cs)?(?:utf|ucs|iso|latin|windows|cp|ibm|koi|mac|gb|big|tis|euc|shift|sjis|us-?ascii|ascii|ansi)[\w.:()-]*",
    re.ASCII,
)
"""Values that mean no compression: none at all, or a character set."""

WINDOW = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""`wbits` for zlib. `deflate` is zlib's own format (RFC 9110, 8.4.1.2), ..."""
BARE = -zlib.MAX_WBITS
"""... and some clients send it without the header of that format."""

PIECE = 2**16
"""Bytes that are given to zlib at once."""

MOST_MEMBERS = 100
"""Members of a gzip body; writers make one."""

LARGEST = 512 * 2**20
"""Bytes of an unpacked body, where no setting bounds it: no broker takes more."""


@lru_cache(maxsize=256)
def packing_of(content_encoding: str | None) -> Packing:
    """How a body with this property is packed."""
    name = "" if content_encoding is None else content_encoding.strip().lower()
    if not name or PLAIN.fullmatch(name):
        return "plain"
    return PACKINGS.get(name, "unknown")


def is_plain(request: Request) -> bool:
    """Whether a request's body is at hand: it needs no unpacking, and is in no store."""
    if not request.body and is_claimed(request):
        return False
    return request.content_encoding is None or packing_of(request.content_encoding) == "plain"


def unpacked_body(request: Request, most: int | None) -> bytes:
    """A request's body, unpacked, of at most `most` bytes. Call it in a thread, for it may take long.

    Raises:
        DecodeError: its `content_encoding` is not known, or the body is not of that format.
        BodyTooBig: it is larger.
    """
    packing = packing_of(request.content_encoding)
    said = f"content_encoding is {(request.content_encoding or '')[:40]!r}"
    if packing == "plain":
        return request.body
    if packing == "unknown":
        raise DecodeError(f"{said}, which is not known here; send gzip, deflate, or a plain body without it")
    try:
        return _unpacked(request.body, packing, LARGEST if most is None else most)
    except (zlib.error, EOFError) as error:
        raise DecodeError(f"{said}, and the body is none: {error}") from None


def _unpacked(body: bytes, packing: str, most: int) -> bytes:
    whole, at = BytesIO(), 0
    window = BARE if packing == "deflate" and not _has_head(body) else WINDOW[packing]
    for _ in range(MOST_MEMBERS):
        at = _unpack_member(body, at, window, whole, most)
        is_over = body.count(0, at) == len(body) - at  # zeros may fill a block
        if is_over or packing != "gzip":
            break
    if not is_over:
        raise EOFError(f"there is more behind its end, or more than {MOST_MEMBERS} members")
    return whole.getvalue()


def _unpack_member(body: bytes, at: int, window: int, whole: BytesIO, most: int) -> int:
    """Unpack what begins at `at`; returns where it ends."""
    inflater = zlib.decompressobj(window)
    view = memoryview(body)
    while not inflater.eof:
        piece = inflater.unconsumed_tail or view[at : at + PIECE]
        if not inflater.unconsumed_tail:
            at += len(piece)
        found = inflater.decompress(piece, most - whole.tell() + 1)
        if not found and not piece:
            raise EOFError("it is cut short")
        whole.write(found)
        if whole.tell() > most:
            raise BodyTooBig(
                f"the request has more than {most} bytes once it is unpacked, and {most} are allowed "
                "(max_body_size)"
            )
    return at - len(inflater.unused_data)


def _has_head(body: bytes) -> bool:
    """Whether it begins as zlib's format does (RFC 1950)."""
    return len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
