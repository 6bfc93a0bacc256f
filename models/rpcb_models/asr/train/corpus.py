"""Clips with what is said in them: the prompts of a telephone exchange, and their split by text.

Debian's asterisk-core-sounds-en-g722 has the sound (one speaker, 24 minutes of speech, CC BY-SA 3.0),
asterisk-core-sounds-en the transcripts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rpcb_models.asr.train.labels import label_text
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.recordings.make import SOUNDS, TEXTS, transcripts
from rpcb_trio import SettingError

PACKAGES: Final = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722")

_VALIDATION_WORDS = 3  # a lone unseen word can only be guessed


@dataclass(frozen=True, eq=False)
class Clip:
    """Speech (float32 [T], mono, 16 kHz) and its text, in the labels."""

    name: str
    samples: Samples
    text: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is only listened to afterwards; no text is in both."""

    training: list[Clip]
    validation: list[Clip]


def prompts(root: Path) -> list[Clip]:
    """Read all prompts in which something is spoken that the labels can write, in the order of their names.

    Args:
        root: The folder into which the two packages are unpacked; `/` where they are installed.

    Raises:
        rpcb_trio.SettingError: they are not there.
    """
    sounds, listing = (root / path.relative_to("/") for path in (SOUNDS, TEXTS))
    if not (listing.is_file() and any(sounds.glob("*.g722"))):
        raise SettingError(
            f"the prompts are not under {root}: apt-get install {' '.join(PACKAGES)}, "
            "or unpack both (dpkg -x) and name their folder with --corpus"
        )
    texts = {name: label_text(said) for name, said in transcripts(listing).items()}
    files = {name: sounds / f"{name}.g722" for name in sorted(texts)}
    return [
        Clip(name, read_audio(file.read_bytes(), "g722"), text)
        for name, file in files.items()
        if (text := texts[name]) and file.is_file()
    ]


def shipped(prefix: str) -> list[Clip]:
    """Read the shipped recordings whose names begin so, as far as the labels can write them."""
    return [
        Clip(one.name, read_audio(one.path.read_bytes(), "wav"), text)
        for one in recordings()
        if one.name.startswith(prefix) and (text := label_text(one.text))
    ]


def split(clips: Sequence[Clip], *, share: float, seed: int) -> Split:
    """Keep that share of the texts of three words and more, at least one, for validation."""
    texts = sorted({clip.text for clip in clips if len(clip.text.split()) >= _VALIDATION_WORDS})
    kept = max(1, round(share * len(texts)))
    unseen = set(random.Random(seed).sample(texts, kept))  # noqa: S311 - the same split every time
    return Split(
        training=[clip for clip in clips if clip.text not in unseen],
        validation=[clip for clip in clips if clip.text in unseen],
    )
