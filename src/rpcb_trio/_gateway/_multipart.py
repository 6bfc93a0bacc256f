"""`multipart/form-data` (RFC 7578), parsed as it comes in; its parts stay in memory.

The parser is python-multipart's. Two things are done before it is called. Pieces that are too small to be
worth a call are joined. Every delimiter is checked: many of them, or malformed ones, would make the parser go
on byte by byte, at ten seconds for 85 MiB.
"""

from __future__ import annotations

import codecs
from http import HTTPStatus
from typing import Self

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from rpcb_trio._gateway._problems import Problem

MOST_PARTS = 64
"""Of a form."""

LONGEST_TEXT = 2**20
"""Bytes of a field that is no file."""

SMALLEST_PIECE = 2**14
"""Bytes that are worth a call of the parser."""

QUADRATIC = ("punycode", "idna")
"""Charsets in which no text is sent, and which take quadratic time to decode."""


class FormPart:
    """One part; it is a file if it names one."""

    def __init__(self) -> None:
        self.disposition: bytes | None = None
        self.name = ""
        self.filename = ""
        self.is_file = False
        self.pieces: list[bytes] = []
        self.size = 0


class Multipart:
    """Parses one form, within `with`; after that nothing of it is held.

    Args:
        content_type: the request's, with the boundary.

    Raises:
        Problem: 400, the form is malformed, or has too many parts, or too long a text.
    """

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        self.parts: list[FormPart] = []
        self._charset = _charset(options.get(b"charset", b"utf-8").decode("latin-1"))
        self._delimiter = b"\r\n--" + boundary
        self._unseen = b"\r\n"  # of the delimiters; the first one needs no line end before it
        self._delimiters = 0
        self._pending = bytearray()
        self._field, self._value = b"", b""
        self._has_ended = False
        if not boundary:
            raise no_form("its content type names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": lambda: self.parts.append(FormPart()),
                    "on_header_field": self._take_field,
                    "on_header_value": self._take_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise no_form(str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.parts.clear()
        self._pending.clear()
        self._parser.callbacks = {}  # a reference cycle would hold the parts until a garbage collection

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        self._pending += piece
        if len(self._pending) >= SMALLEST_PIECE:
            self._parse()

    def finish(self) -> None:
        """Take the end of the body."""
        self._parse()
        if not self._has_ended:
            raise no_form("it ends before its last boundary")

    def text_of(self, part: FormPart) -> str:
        """A part's content as a text, in the form's charset.

        Raises:
            Problem: 400, that charset is none for texts.
        """
        return _text(b"".join(part.pieces), self._charset)

    def _parse(self) -> None:
        piece, self._pending = bytes(self._pending), bytearray()
        self._check_delimiters(piece)
        try:
            self._parser.write(piece)
        except FormParserError:
            raise no_form("it is not as its content type says") from None

    def _check_delimiters(self, piece: bytes) -> None:
        seen = self._unseen + piece
        start, length = 0, len(self._delimiter)
        while (found := seen.find(self._delimiter, start)) >= 0:
            end = found + length
            if end + 2 > len(seen):
                break
            if seen[end : end + 2] not in (b"\r\n", b"--"):
                raise no_form("its boundary stands where no part begins or ends")
            self._delimiters += 1
            if self._delimiters > MOST_PARTS + 1:
                raise no_form(f"it has more than {MOST_PARTS} parts")
            start = end
        self._unseen = seen[max(start, len(seen) - length - 1) :]

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self.parts[-1].disposition = self._value
        self._field, self._value = b"", b""

    def _end_headers(self) -> None:
        part = self.parts[-1]
        _, options = parse_options_header(part.disposition)
        if b"name" not in options:
            raise no_form("a part of it has no name")
        part.name = _text(options[b"name"], self._charset)
        part.is_file = b"filename" in options
        part.filename = _text(options.get(b"filename", b""), self._charset)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.size += end - start
        if part.size > LONGEST_TEXT and not part.is_file:
            raise no_form(
                f"the text {part.name[:40]!r} has more than {LONGEST_TEXT} bytes; send it as a file"
            )
        part.pieces.append(data[start:end])

    def _end(self) -> None:
        self._has_ended = True


def no_form(why: str) -> Problem:
    """400: the body is not the form that its content type promises."""
    return Problem(HTTPStatus.BAD_REQUEST, "form", f"the form can't be read: {why}")


def _charset(name: str) -> str:
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "latin-1"
    return "latin-1" if found in QUADRATIC else found


def _text(content: bytes, charset: str) -> str:
    try:
        return content.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return content.decode("latin-1")
    except UnicodeError:  # the charset is none for texts
        raise no_form("its charset is none for texts") from None
