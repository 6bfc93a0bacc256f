"""Recordings of any length -> what is said in them, and when; nothing where nobody speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rpcb_models.asr.languages import UNNAMED
from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.asr.segments import Segment, spoken, whole
from rpcb_models.asr.voice_activity import VoiceActivity
from rpcb_models.audio import SAMPLE_RATE, Samples

_BETWEEN_WORDS = re.compile(r"\W+")


@dataclass(frozen=True)
class Said:
    """What a segment's text is, and from when to when, in seconds from the recording's beginning."""

    start: float
    end: float
    text: str


class Hearing:
    """Recognisers behind a gate for speech. Used from several threads at once; loads nothing by itself.

    Args:
        recognisers: What hears the words: one, or one for each language, the default first.
        gate: Whether only what is speech is passed on.
    """

    def __init__(self, recognisers: Recogniser | Mapping[str, Recogniser], *, gate: bool = True) -> None:
        self._recognisers = recognisers if isinstance(recognisers, Mapping) else {UNNAMED: recognisers}
        self._activity = VoiceActivity() if gate else None

    def load(self) -> None:
        """Read the models; later calls do nothing.

        Raises:
            rpcb_trio.SettingError: as `Recogniser.load`.
        """
        if self._activity is not None:
            self._activity.load()
        for recogniser in self._recognisers.values():
            recogniser.load()

    def segments(self, clip: Samples) -> list[Segment]:
        """Find what is to be recognised in a recording (float32 [T], mono, 16 kHz, any length), in order."""
        if self._activity is None:
            return whole(clip)
        return spoken(clip, self._activity.stretches(clip))

    def hear(
        self, recordings: Sequence[Sequence[Segment]], languages: Sequence[str] = ()
    ) -> list[list[Said]]:
        """Recognise the segments of several recordings; those of one language are one batch.

        Args:
            recordings: The segments of each.
            languages: Of each; the default's where they are left out.

        Returns:
            What is said in each, in order; segments without words are left out.
        """
        default = next(iter(self._recognisers))
        spoken_in = languages or [default] * len(recordings)
        said: list[list[Said]] = [[] for _ in recordings]
        for language, recogniser in self._recognisers.items():
            places = [place for place, each in enumerate(spoken_in) if each == language]
            clips = [segment.samples for place in places for segment in recordings[place]]
            texts = iter(recogniser.transcribe(clips) if clips else [])
            for place in places:
                segments = recordings[place]
                said[place] += _said(recogniser, segments, islice(texts, len(segments)))
        return said


def _said(recogniser: Recogniser, segments: Sequence[Segment], texts: Iterator[str]) -> Iterator[Said]:
    for segment, text in zip(segments, texts, strict=True):
        if text and (segment.sure or not _is_filler(recogniser, text)):
            start = segment.start / SAMPLE_RATE
            yield Said(round(start, 3), round(start + segment.seconds, 3), text)


def _is_filler(recogniser: Recogniser, text: str) -> bool:
    words = " ".join(_BETWEEN_WORDS.sub(" ", text.lower()).split())
    return words in getattr(recogniser, "unspoken", ())
