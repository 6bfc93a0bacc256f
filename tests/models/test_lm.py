"""A language model serves a checkpoint of its own letters, and loads without a word to stderr."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from rpcb_models.asr.quartznet._lm import without_kenlms_lines
from rpcb_trio import SettingError
from tests.models.nemo_files import ENGLISH
from tests.models.test_quartznet import CHINESE, beam_search, spelled

ENGLISH_LM = (
    "\\data\\\nngram 1=4\nngram 2=1\n\n"
    "\\1-grams:\n-9\t<s>\t0\n-1\t</s>\n-1\thello\t0\n-1\tworld\t0\n\n"
    "\\2-grams:\n-0.1\thello world\n\n\\end\\\n"
)


@pytest.mark.parametrize("form", ["plain", "gzip", "binary"])
def test_a_language_model_in_other_letters_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "words.arpa"
    path.write_bytes(
        {
            "plain": ENGLISH_LM.encode(),
            "gzip": gzip.compress(ENGLISH_LM.encode()),
            "binary": b"mmap lm http://kheafield.com/code\n\0" + bytes(99) + b"<unk>\0<s>\0hello\0world\0",
        }[form]
    )
    with pytest.raises(
        SettingError, match=r"words\.arpa, whose words \('hello', \.\.\.\).*single characters"
    ):
        beam_search(CHINESE, path)


def test_a_language_model_in_capitals_is_refused_where_the_labels_have_none(tmp_path: Path) -> None:
    path = tmp_path / "capitals.arpa"
    path.write_text(ENGLISH_LM.replace("hello", "HELLO").replace("world", "WORLD"))
    with pytest.raises(SettingError, match="'HELLO'"):
        beam_search(ENGLISH, path)


def test_a_language_model_may_have_some_words_that_the_labels_lack(tmp_path: Path) -> None:
    path = tmp_path / "some.arpa"
    path.write_text(ENGLISH_LM.replace("hello", "naïve"))
    assert beam_search(ENGLISH, path).text(spelled("world")) == "world"


def test_loading_a_language_model_writes_nothing_to_stderr_and_swallows_nobody_elses_lines(
    capfd: pytest.CaptureFixture[str],
) -> None:
    beam_search()
    with without_kenlms_lines():
        os.write(2, b"Reading /a/model.arpa\n----5---10---15\na line of the worker's log\n****\nand")
        os.write(2, b" another")
    assert capfd.readouterr().err == "a line of the worker's log\nand another"
