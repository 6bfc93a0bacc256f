"""How well a transcript matches what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer

_BETWEEN_WORDS = re.compile(r"[^\w']+|_")
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SPOKEN = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "ok": "okay",
    **{str(number): word for number, word in enumerate(_NUMERALS)},
}


def normalised(text: str) -> str:
    """Lower-case words alone: no punctuation, hyphens as spaces, small numbers and titles spelt out."""
    words = _BETWEEN_WORDS.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).split()
    return " ".join(_SPOKEN.get(word, word) for word in words)


def word_error_rate(references: Sequence[str], transcripts: Sequence[str]) -> float:
    """Substituted, missing and additional words over all texts, per word of the references.

    Args:
        references: What was said.
        transcripts: What was recognised, one for each reference.

    Returns:
        0.0 where all words agree; above 1.0 where there are more wrong words than right ones to be had.

    Raises:
        ValueError: a reference has no words, or the counts differ.
    """
    said = [normalised(text) for text in references]
    if not all(said):
        raise ValueError("a reference has no words")
    return jiwer.wer(said, [normalised(text) for text in transcripts])
