"""How text that comes from outside is shown: bounded, on one line, without control characters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LONGEST_TEXT = 2000
"""Characters that are kept of an error's text; it may quote all of its input."""
LONGEST_SHOWN = 500
"""Characters of a text in a line of the log, a header or an event."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


PASSWORD = re.compile(r"(://[^\s:/@]*:)\S+@")
"""Up to the last @, for a password that was not quoted may hold any of them."""


def on_one_line(text: str) -> str:
    """The text with line ends, control characters and lone surrogates escaped."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """The text; a longer one is cut, with the number of characters left out."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def shown(text: str, most: int = LONGEST_SHOWN) -> str:
    """The text on one line, with at most some `most` characters of it."""
    return on_one_line(shortened(text, most))


def without_passwords(text: str) -> str:
    """The text with `***` for the passwords of the URLs in it."""
    return PASSWORD.sub(r"\1***@", text)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The end of an error line that proposes the nearest candidate, if one is near."""
    close = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {close[0]}?" if close else ""
