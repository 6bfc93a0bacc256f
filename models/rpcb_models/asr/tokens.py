"""Moonshine's `tokenizer.bin`: token numbers -> text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

_BYTE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
_SPECIAL = re.compile(rb"<[^>]+>")
_UTF_8 = codecs.getincrementaldecoder("utf-8")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's mark for a space


class Tokens:
    """The vocabulary, in the order of token numbers.

    The file is a row of byte strings, each behind its length: one byte below 128, else two
    (`high * 128 + low - 128`). `<0xNN>` stands for a byte, other `<...>` for nothing that is spoken.

    Args:
        blob: The file's bytes.

    Raises:
        ValueError: the file ends within a string.
    """

    def __init__(self, blob: bytes) -> None:
        self._pieces = [_spoken(piece) for piece in _split(blob)]

    def __len__(self) -> int:
        return len(self._pieces)

    def text(self, numbers: Iterable[int]) -> str:
        """Join tokens to a text; bytes that are no UTF-8 become U+FFFD.

        A character that is not complete at the end, where the tokens were cut off, is left out.
        """
        joined = b"".join(self._pieces[number] for number in numbers)
        return _UTF_8(errors="replace").decode(joined).replace(_SPACE, " ").strip()


def _spoken(piece: bytes) -> bytes:
    if byte := _BYTE.fullmatch(piece):
        return bytes([int(byte[1], 16)])
    return b"" if _SPECIAL.fullmatch(piece) else piece


def _split(blob: bytes) -> list[bytes]:
    pieces = []
    at = 0
    try:
        while at < len(blob):
            length, at = blob[at], at + 1
            if length >= 128:  # noqa: PLR2004 (the bit that announces a second byte)
                length, at = blob[at] * 128 + length - 128, at + 1
            pieces.append(blob[at : at + length])
            at += length
    except IndexError:
        at = -1
    if at != len(blob):
        raise ValueError("tokenizer.bin ends within a token")
    return pieces
