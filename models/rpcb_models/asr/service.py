"""Speech recognition behind a queue, on the producers' wire."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import msgspec
import numpy as np

from rpcb_models.asr.hearing import Hearing, Said
from rpcb_models.asr.languages import UNNAMED, language_of, recognisers_of
from rpcb_models.asr.recogniser import Recogniser
from rpcb_models.asr.segments import Segment, whole
from rpcb_models.audio import DECODE_MEMORY, MAX_BYTES, SAMPLE_RATE, Samples
from rpcb_models.audio_service import AudioService
from rpcb_models.wire import Recognition, SpokenSegment, Status, read_request, status_of
from rpcb_trio import Failure, Outcome, Pieces, SettingError, Success
from rpcb_trio.errors import OutOfMemory
from rpcb_trio.streaming import END, Step

_MOST_SECONDS = 3600.0  # of speech in a batch of several: some 45 s of moonshine's CPU
_TRUE: Final = (True, "true", "1")
MAX_SECONDS: Final = 7200.0
"""The longest recording by default, in seconds."""


@runtime_checkable
class _Placeable(Protocol):
    def on_device(self, device: str) -> Recogniser: ...


@dataclass(frozen=True, eq=False)
class Recording:
    """A request's audio, or a part of it: what is spoken, and whether its producer wants to know when."""

    segments: Sequence[Segment]
    with_times: bool
    language: str = UNNAMED


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, or a part of one, and whether its producer wants to know when."""

    said: Sequence[Said]
    with_times: bool


class SpeechRecognition:
    """Answers `{audio, format}` with `{sentence, other}`; asked for `timestamps`, with `segments` as well.

    Every failure has the same shape: an empty sentence, since that field is for recognised words only, and
    the status in `other`. Producers that look at `sentence` alone then show nothing rather than an error's
    text as if it had been spoken. Where nobody speaks, the sentence is empty and the status 200.

    All arguments are plain, so that a line of configuration can give them. Nothing is loaded before `warm_up`
    or the first request.

    Args:
        recogniser: "moonshine" (English, out of the box), "quartznet" (your checkpoint), or one of your own;
            or several of your own, in a map by their languages, the default first.
        languages: The language of that recogniser, as `zh`, so that requests for another are refused; or, of
            several, each with its recogniser, the default first: `en=moonshine,zh=FILE.nemo`. A request's
            field `language` says which one hears it.
        speech_only: Whether noise, tones, music and long pauses are kept from the recogniser, which would
            hear words in them.
        alone: For moonshine: whether a text may not depend on its batch; see `Moonshine`.
        device: Where to compute, `cpu` by default, or `cuda:0`; moonshine needs onnxruntime-gpu for that.
        threads: Of the recogniser's library; one leaves the other cores to the event loop.
        checkpoint: For quartznet: path of a `.nemo` file.
        lm: For quartznet: path of a language model, ARPA or KenLM's binary.
        lm_weight: For quartznet, as the following; see `QuartzNet`.
        word_bonus: See `QuartzNet`.
        beam_width: See `QuartzNet`.
        features: See `QuartzNet`.
        precision: See `QuartzNet`.
        max_seconds: The longest recording, in seconds; a longer one is refused. Recordings are recognised in
            segments of 16 s at most; beyond half a minute in parts, which take turns with other requests.
            As long as one is at work, it has a decoder's process for itself.
        max_bytes: The largest audio file, in bytes; a larger one is refused.
        decode_memory: How much a decoder may allocate for one clip, in MiB; one that wants more is refused.

    Raises:
        rpcb_trio.SettingError: there is no such recogniser, or arguments don't go together.
    """

    content_type = "application/octet-stream"

    def __init__(
        self,
        recogniser: str | Recogniser | Mapping[str, Recogniser] = "moonshine",
        *,
        languages: str | None = None,
        speech_only: bool = True,
        alone: bool | None = None,
        device: str | None = None,
        threads: int = 1,
        checkpoint: str | None = None,
        lm: str | None = None,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        beam_width: int | None = None,
        features: str | float | None = None,
        precision: str | None = None,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        decode_memory: int = DECODE_MEMORY,
    ) -> None:
        recognisers = recognisers_of(
            recogniser,
            languages,
            device=device,
            threads=threads,
            alone=alone,
            checkpoint=checkpoint,
            lm=lm,
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            beam_width=beam_width,
            features=features,
            precision=precision,
        )
        self._languages = tuple(recognisers)
        self._speech_only = speech_only
        self._place(recognisers)
        self._audio = AudioService(max_seconds=max_seconds, max_bytes=max_bytes, decode_memory=decode_memory)

    @property
    def recogniser(self) -> Recogniser:
        """The one for requests that name no language."""
        return self.recognisers[self._languages[0]]

    def on_device(self, device: str) -> SpeechRecognition:
        """The service for a replica on that device: another one, where a recogniser cares.

        Raises:
            rpcb_trio.SettingError: a recogniser runs on the processor alone, and the device is another.
        """
        placed = {language: _placed(each, device) for language, each in self.recognisers.items()}
        if all(placed[language] is each for language, each in self.recognisers.items()):
            return self
        service = copy(self)
        service._place(placed)  # noqa: SLF001 - its own class
        return service

    def _place(self, recognisers: dict[str, Recogniser]) -> None:
        self.recognisers = recognisers
        """By their languages, the default first."""
        self._hearing = Hearing(recognisers, gate=self._speech_only)

    def warm_up(self) -> None:
        """Load the models and run them on a second of faint noise, which sets up what a batch needs."""
        self._hearing.load()
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        self._hearing.segments(noise)
        for language in self._languages:
            self._hearing.hear([whole(noise)], [language])

    def decode(self, body: bytes) -> Recording | Pieces[Recording]:
        """Turn a request's body into what is spoken in its audio; beyond half a minute, part after part.

        The parts are decoded as they are asked for, so an hour of samples is never in memory.

        Raises:
            RefusedRequest: the body or its audio can't be used; carries the status to reply.
        """
        request = read_request(body)
        language = language_of(request.language, self._languages)
        with_times = request.timestamps in _TRUE
        blocks = self._audio.blocks(request)
        del request  # and with it the file, which its decoder has
        parts = self._recordings(blocks, language, with_times=with_times)
        first, second = next(parts), next(parts, None)
        return first if second is None else Pieces(_together(first, second, parts))

    def _recordings(
        self, blocks: Generator[Samples], language: str, *, with_times: bool
    ) -> Generator[Recording]:
        with closing(blocks):
            for segments in self._hearing.in_parts(blocks):
                yield Recording(segments, with_times, language)

    def cost(self, item: Recording) -> float:
        """Seconds of audio to be recognised."""
        return sum(segment.seconds for segment in item.segments)

    def infer(self, items: list[Recording]) -> list[Transcript]:
        """Recognise a batch of recordings, all their segments as one; a transcript for each.

        Raises:
            rpcb_trio.errors.OutOfMemory: together they are so long that others would wait for minutes.
        """
        seconds = sum(map(self.cost, items))
        if len(items) > 1 and seconds > _MOST_SECONDS:
            raise OutOfMemory(f"{seconds:.0f} s of speech are more than the {_MOST_SECONDS:g} s of one batch")
        heard = self._hearing.hear([item.segments for item in items], [item.language for item in items])
        return [Transcript(said, item.with_times) for said, item in zip(heard, items, strict=True)]

    def stream_infer(self, items: list[Recording]) -> Generator[Step[Transcript], Collection[int], None]:
        """Recognise segment after segment, those at one place in all recordings as one batch.

        A part is what is said in a segment. Segments without words have none, unless there is no other part.
        """
        told, live = set[int](), dict(enumerate(items))
        for place in range(max(len(item.segments) for item in items) or 1):
            heard = self._hearing.hear(
                [item.segments[place : place + 1] for item in live.values()],
                [item.language for item in live.values()],
            )
            ending = {number for number, item in live.items() if place + 1 >= len(item.segments)}
            parts = {
                number: Transcript(said, live[number].with_times)
                for number, said in zip(live, heard, strict=True)
                if said or (number in ending and number not in told)
            }
            told |= {*parts}
            gone = {*((yield parts) or ()), *((yield dict.fromkeys(ending, END)) or ())}
            live = {number: item for number, item in live.items() if number not in (*ending, *gone)}

    def join(self, results: list[Transcript]) -> Transcript:
        """Make one transcript of those of a recording's parts, or of its segments."""
        return Transcript([each for part in results for each in part.said], results[0].with_times)

    def encode(self, outcome: Outcome[Transcript]) -> bytes:
        """Write the reply: MessagePack of `{sentence: str, other: int}`, with `segments` where asked for."""
        match outcome:
            case Success(value=transcript):
                reply = _reply(transcript)
            case Failure(error=error):
                reply = Recognition(sentence="", other=status_of(error))
        return msgspec.msgpack.encode(reply)


def _together(first: Recording, second: Recording, rest: Generator[Recording]) -> Generator[Recording]:
    with closing(rest):
        yield first
        yield second
        yield from rest


def _placed(recogniser: Recogniser, device: str) -> Recogniser:
    if isinstance(recogniser, _Placeable):
        return recogniser.on_device(device)
    if device != "cpu":
        raise SettingError(f"device is {device}, but the recogniser runs on the cpu; leave device out")
    return recogniser


def _reply(transcript: Transcript) -> Recognition:
    sentence = " ".join(each.text for each in transcript.said)
    if not transcript.with_times:
        return Recognition(sentence, Status.SUCCESS)
    segments = [SpokenSegment(each.start, each.end, each.text) for each in transcript.said]
    return Recognition(sentence, Status.SUCCESS, segments)
