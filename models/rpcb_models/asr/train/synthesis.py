"""More speech than there are recordings of: sentences like the prompts', read by espeak-ng."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from pathlib import Path
from typing import Final

from rpcb_models.asr.train.corpus import Clip
from rpcb_models.audio import read_audio
from rpcb_trio import SettingError

_PROGRAM: Final = "espeak-ng"
_ACCENTS: Final = ("en-us", "en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland")
_TIMBRES: Final = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m3", "+m7")
_WORDS_PER_MINUTE: Final = (120, 200)
_PITCHES: Final = (25, 75)  # of 0 to 99
_FEWEST_WORDS, _MOST_WORDS = 3, 12


def synthetic_clips(texts: Sequence[str], count: int, *, unseen: AbstractSet[str], seed: int) -> list[Clip]:
    """Let many voices read sentences made after these texts.

    Args:
        texts: What the sentences are like: two neighbours in a sentence are neighbours in one of these.
        count: How many.
        unseen: Texts that are none of the sentences.
        seed: Of sentences and voices.

    Raises:
        rpcb_trio.SettingError: espeak-ng is not there, or fails.
    """
    if not count:
        return []
    program = shutil.which(_PROGRAM)
    if program is None:
        raise SettingError(f"synthetic speech needs {_PROGRAM}: apt-get install {_PROGRAM}, or --synthetic 0")
    chance = random.Random(seed)  # noqa: S311 - the same clips every time
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        return [
            _read_aloud(program, name, sentence, file, chance)
            for name, sentence in _sentences(texts, count, unseen, chance)
        ]


def _read_aloud(program: str, name: str, text: str, file: Path, chance: random.Random) -> Clip:
    voice = chance.choice(_ACCENTS) + chance.choice(_TIMBRES)
    speed, pitch = str(chance.randint(*_WORDS_PER_MINUTE)), str(chance.randint(*_PITCHES))
    command = [program, "-v", voice, "-s", speed, "-p", pitch, "-w", str(file), text]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - words of the labels alone
    except subprocess.CalledProcessError as error:
        raise SettingError(f"{_PROGRAM} failed with {error.returncode}: {error.stderr!r}") from error
    return Clip(name, read_audio(file.read_bytes(), "wav"), text)


def _sentences(
    texts: Sequence[str], count: int, unseen: AbstractSet[str], chance: random.Random
) -> list[tuple[str, str]]:
    """Walks from word to word over the pairs that occur; "" is before the first and after the last."""
    following: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        words = ["", *text.split(), ""]
        for word, after in pairwise(words):
            following[word].append(after)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        sentence = _walk(following, chance)
        if len(sentence.split()) >= _FEWEST_WORDS and sentence not in unseen:
            found.append((f"synthetic-{len(found):05}", sentence))
    return found


def _walk(following: dict[str, list[str]], chance: random.Random) -> str:
    words = [chance.choice(following[""])]
    while len(words) < _MOST_WORDS and (word := chance.choice(following[words[-1]])):
        words.append(word)
    return " ".join(words)
