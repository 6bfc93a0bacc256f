"""The characters the network writes, and texts made of them."""

from __future__ import annotations

import re
import string
from typing import Final

from rpcb_models.wer import normalised

LABELS: Final = (" ", *string.ascii_lowercase, "'")
"""In the order of the network's outputs; the blank comes after them, without a label."""
BLANK: Final = len(LABELS)

_DIRECTION = re.compile(r"\[.*?\]|<.*?>|\(.*?\)")  # "[sound of monkeys screaming]"
_INDEX: Final = {label: index for index, label in enumerate(LABELS)}


def label_text(transcript: str) -> str | None:
    """Write a transcript in the labels: lower case, small numbers spelt out, what is not spoken left out.

    Returns:
        None where nothing is spoken, or where it can't be written so: how "1234" is read aloud is not known.
    """
    words = (word.strip("'") for word in normalised(_DIRECTION.sub(" ", transcript)).split())
    text = " ".join(filter(None, words))
    return text if text and set(text) <= _INDEX.keys() else None


def label_indices(text: str) -> list[int]:
    """Give each character's output. Raises KeyError for one without a label."""
    return [_INDEX[character] for character in text]
