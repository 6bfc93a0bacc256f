"""Text that an editor, a shell or a secret store has written, and what around it is not part of it."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from rpcb_trio.errors import SettingError

MARK = "\ufeff"
"""The byte-order mark, which some editors put before a text."""

INVISIBLE = f"{MARK}\u200b\u200e\u200f\u2060"
"""Characters that are copied along from a web page or a document."""

QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
"""Each with what ends it, those of word processors included."""

MOST_BYTES = 1 << 20
"""Of such a file; one that has more, or never ends as a device may, is another one than was meant."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def bare(value: str) -> str:
    """Without spaces, line ends, invisible marks and quotes around it."""
    while (stripped := value.strip().strip(INVISIBLE)) != value:
        value = stripped
    inner = value[1:-1]
    if len(value) > 1 and value[-1] == QUOTES.get(value[0]) and not {value[0], value[-1]} & {*inner}:
        return bare(inner)
    return value


def read_text(path: Path) -> str:
    """What a file of text holds, in whichever Unicode its byte-order mark says, or in UTF-8.

    Raises:
        SettingError: it is no such text; the message begins with why.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SettingError(f"it has more than {MOST_BYTES} bytes, so it is another file; name the right one")
    encoding = next((encoding for mark, encoding in MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:1024]:
        raise SettingError("it holds zero bytes, so it is UTF-16 or no text; save it as UTF-8")
    try:
        return data.decode(encoding).removeprefix(MARK)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingError(
            f"it is not {encoding.upper()} (line {line}, byte {error.start}); save it as UTF-8"
        ) from None


def text_in(setting: str, path: str, read: Callable[[str], str] = str) -> str:
    """What `read` makes of the text in a file that a setting names.

    Raises:
        SettingError: the file can't be read, or `read` refuses its text.
    """
    try:
        return read(read_text(Path(path)))
    except OSError as error:
        raise SettingError(f"{setting} {path} can't be read: {error.strerror}") from error
    except SettingError as error:
        raise SettingError(f"{setting} {path}: {error}") from None
