"""A language model's file, before KenLM reads it: whether it is one, and of the checkpoint's letters.

KenLM itself would take an English model for a Chinese checkpoint, and then find that no word is known; and it
writes to the process's stderr.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from rpcb_trio import SettingError

_BINARY: Final = b"mmap lm http://kheafield.com/code"
_GZIP: Final = b"\x1f\x8b"
_MARKS: Final = (_BINARY, b"\\data\\", _GZIP)
_SPECIAL: Final = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
_FIRST_WORDS: Final = 5000  # of the model; those that are looked at
_LEAST_SHARE: Final = 0.1  # of them that the labels must be able to write; other languages' are near 0
_KENLMS: Final = re.compile(
    rb"Loading the LM will be faster|Reading \S|----5---10|\*+$|The ARPA file is missing"
)
_PATIENCE: Final = 1.0  # seconds for the last lines to come through


def refuse_other_files(path: Path) -> None:
    """Tell plainly what KenLM would tell at length, or not survive.

    Raises:
        rpcb_trio.SettingError: it can't be read, or is no language model.
    """
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip()
    except OSError as error:
        raise SettingError(f"lm is {path}, which can't be read: {error.strerror}") from error
    if not start.startswith(_MARKS):
        raise SettingError(f"lm is {path}, which is neither an ARPA file nor KenLM's binary")


def refuse_other_languages(path: Path, labels: Sequence[str], *, single: bool) -> None:
    """Compare the model's first words with what the labels can write.

    A KenLM binary that was built without its words can't be judged, and is taken.

    Args:
        path: A file that `refuse_other_files` found to be a model.
        labels: The checkpoint's.
        single: Whether each label is a word of its own, as with Chinese characters.

    Raises:
        rpcb_trio.SettingError: hardly any word can be written with the labels.
    """
    words = [word for word in islice(_words(path), _FIRST_WORDS) if word not in _SPECIAL]
    known = {label.strip() for label in labels}
    written = [word for word in words if (word in known if single else known.issuperset(word))]
    if words and len(written) < _LEAST_SHARE * len(words):
        other = next(word for word in words if word not in set(written))
        raise SettingError(
            f"lm is {path}, whose words ({other!r}, ...) the checkpoint's labels can't write; "
            f"give a model of {'single characters' if single else 'words'} in their language and spelling"
        )


def _words(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        start = file.read(len(_BINARY))
    if start.startswith(_BINARY):
        yield from _binary_words(path)
        return
    with suppress(OSError, EOFError), (gzip.open if start.startswith(_GZIP) else open)(path, "rb") as file:
        lines = iter(file)
        for line in lines:
            if line.strip() == b"\\1-grams:":
                break
        for line in lines:
            fields = line.split()
            if not fields or fields[0].startswith(b"\\"):
                break
            yield from (field.decode(errors="replace") for field in fields[1:2])


def _binary_words(path: Path) -> Iterator[str]:
    """They stand at the end, each before a zero, the unknown word first."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.rfind(b"<unk>\0")
        while 0 <= at < len(content) and (end := content.find(b"\0", at)) >= 0:
            yield content[at:end].decode(errors="replace")
            at = end + 1


@contextmanager
def without_kenlms_lines() -> Iterator[None]:
    """Keep from stderr what KenLM writes there while it loads; what others write meanwhile is passed on."""
    reading, writing = os.pipe()
    stderr = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    sieve = threading.Thread(target=_pass_on, args=(reading, stderr), daemon=True, name="kenlm-stderr")
    sieve.start()
    try:
        yield
    finally:
        os.dup2(stderr, 2)  # the pipe's last writer, unless a child was started meanwhile
        sieve.join(_PATIENCE)


def _pass_on(reading: int, stderr: int) -> None:
    with open(reading, "rb", buffering=0) as lines, open(stderr, "wb", buffering=0) as kept:
        rest = b""
        while piece := lines.read(65536):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if not _KENLMS.match(line):
                    kept.write(line + b"\n")
        if rest and not _KENLMS.match(rest):
            kept.write(rest)
