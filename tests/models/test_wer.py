"""Only words count, however they are written."""

from __future__ import annotations

import pytest

from rpcb_models.wer import normalised, word_error_rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello,  World!", "hello world"),
        ("an ill-disposed man", "an ill disposed man"),
        ("Mr. Dashwood's", "mister dashwood's"),
        ("the user\N{RIGHT SINGLE QUOTATION MARK}s box", "the user's box"),
        ("press 1 or 10", "press one or ten"),
        ("...", ""),
    ],
)
def test_texts_are_compared_as_words(text: str, words: str) -> None:
    assert normalised(text) == words


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("a b c d", "A, b c d.", 0.0),
        ("a b c d", "a x c d", 0.25),
        ("a b c d", "a c d", 0.25),
        ("a b c d", "a b b c d", 0.25),
        ("a b c d", "", 1.0),
        ("a", "b c d", 3.0),
    ],
)
def test_each_wrong_missing_or_additional_word_counts(said: str, heard: str, rate: float) -> None:
    assert word_error_rate([said], [heard]) == rate


def test_the_rate_is_over_all_words_not_over_texts() -> None:
    assert word_error_rate(["a", "b c d"], ["x", "b c d"]) == 0.25


def test_there_is_one_transcript_for_each_reference() -> None:
    with pytest.raises(ValueError, match="lengths"):
        word_error_rate(["a", "b"], ["a"])


def test_a_reference_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="no words"):
        word_error_rate(["..."], ["a"])
