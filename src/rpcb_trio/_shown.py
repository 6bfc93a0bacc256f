"""How text that comes from outside is shown: bounded, on one line, and without what a terminal obeys."""

from __future__ import annotations

import re

LONGEST_TEXT = 2000
"""Characters of an error's text that are kept; an error may quote all of its input."""
LONGEST_SHOWN = 500
"""Characters of a text that go into a line of the log, a header or an event."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def on_one_line(text: str) -> str:
    """With ends of lines, what a terminal obeys, and what UTF-8 can't carry spelt out."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def shown(text: str, most: int = LONGEST_SHOWN) -> str:
    """On one line, with at most some `most` characters of it."""
    return on_one_line(shortened(text, most))
