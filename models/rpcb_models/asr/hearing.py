"""Recordings of any length -> what is said in them, and when; nothing where nobody speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from rpcb_models.asr.languages import UNNAMED
from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.asr.segments import Segment, spoken, whole
from rpcb_models.asr.voice_activity import VoiceActivity
from rpcb_models.audio import SAMPLE_RATE, Samples, pieces_of

PART: Final = 30.0
"""Seconds of a long recording that are looked at, and recognised, at once."""

_TOGETHER: Final = 960.0  # seconds of speech that a recogniser is given at once: 61 MB
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

    def segments(self, clip: Samples, *, begin: int = 0) -> list[Segment]:
        """Find what is to be recognised in a recording (float32 [T], mono, 16 kHz), in order.

        `begin` is the sample with which the clip begins, where it is a part of the recording.
        """
        found = whole(clip) if self._activity is None else spoken(clip, self._activity.stretches(clip))
        return [replace(each, start=begin + each.start) for each in found] if begin else found

    def in_parts(self, blocks: Iterable[Samples]) -> Iterator[list[Segment]]:
        """The same of a recording of any length that comes in blocks: its parts, of `PART` at most.

        Each part has a level of its own, so a voice that is far away in one is heard as well.
        """
        begin = 0
        for clip in pieces_of(blocks, PART):
            yield self.segments(clip, begin=begin)
            begin += len(clip)

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
            texts = _texts(recogniser, [segment for place in places for segment in recordings[place]])
            for place in places:
                segments = recordings[place]
                said[place] += _said(recogniser, segments, islice(texts, len(segments)))
        return said


def _texts(recogniser: Recogniser, segments: Sequence[Segment]) -> Iterator[str]:
    """The segments' texts, in order. Samples are floats only while they are worked on."""
    clips: list[Samples] = []
    seconds = 0.0
    for segment in segments:
        if clips and seconds + segment.seconds > _TOGETHER:
            yield from recogniser.transcribe(clips)
            clips, seconds = [], 0.0
        clips.append(segment.samples)
        seconds += segment.seconds
    if clips:
        yield from recogniser.transcribe(clips)


def _said(recogniser: Recogniser, segments: Sequence[Segment], texts: Iterator[str]) -> Iterator[Said]:
    for segment, text in zip(segments, texts, strict=True):
        if text and (segment.sure or not _is_filler(recogniser, text)):
            start = segment.start / SAMPLE_RATE
            yield Said(round(start, 3), round(start + segment.seconds, 3), text)


def _is_filler(recogniser: Recogniser, text: str) -> bool:
    words = " ".join(_BETWEEN_WORDS.sub(" ", text.lower()).split())
    return words in getattr(recogniser, "unspoken", ())
