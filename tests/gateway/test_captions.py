"""A transcript in the formats that OpenAI's clients ask for."""

from __future__ import annotations

import io
import re
import wave
from contextlib import suppress
from html import unescape

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_trio._gateway._faces._captions import as_srt, as_verbose_json, as_vtt
from rpcb_trio._gateway._faces._transcripts import Segment, Transcript, transcript_of
from rpcb_trio.gateway import Problem

SECONDS = st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000)
SEGMENTS = st.lists(
    st.tuples(SECONDS, SECONDS, st.text(st.sampled_from("ab é<&>-\n\r\u2028 1:,."), max_size=12)).map(
        lambda each: Segment(min(each[:2]), max(each[:2]), each[2])
    ),
    max_size=5,
)
CUE = re.compile(
    r"(?:\d+\n)?(?P<start>\d+:\d\d:\d\d[.,]\d{3}) --> (?P<end>\d+:\d\d:\d\d[.,]\d{3})\n(?P<text>.*)\n\n"
)


def seconds_of(clock: str) -> float:
    hours, minutes, seconds = re.split(":", clock.replace(",", "."))
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)


@settings(max_examples=50)
@given(SEGMENTS)
def test_each_segment_is_one_cue_whatever_its_text_holds(segments: list[Segment]) -> None:
    transcript = Transcript(text="", segments=tuple(segments))
    for written, head in ((as_srt(transcript), ""), (as_vtt(transcript), "WEBVTT\n\n")):
        text = written.decode()
        assert text.startswith(head)
        cues = [found.groupdict() for found in CUE.finditer(text, len(head))]
        assert [(seconds_of(cue["start"]), seconds_of(cue["end"])) for cue in cues] == [
            (each.start, each.end) for each in segments
        ]
        assert CUE.sub("", text[len(head) :]) == ""
        plain = [unescape(cue["text"]) if head else cue["text"] for cue in cues]
        assert plain == [re.sub("-{2,}>", "->", " ".join(each.text.split())) for each in segments]
        assert not any("-->" in cue["text"] for cue in cues)


def test_vtt_and_srt_look_as_players_expect_them() -> None:
    said = Transcript(text="a b", segments=(Segment(0.0, 1.5, "a"), Segment(3661.25, 3662.0, "b & c")))
    assert as_srt(said) == (
        b"1\n00:00:00,000 --> 00:00:01,500\na\n\n2\n01:01:01,250 --> 01:01:02,000\nb & c\n\n"
    )
    assert as_vtt(said) == (
        b"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na\n\n01:01:01.250 --> 01:01:02.000\nb &amp; c\n\n"
    )


def recording(seconds: float, promised: int | None = None) -> bytes:
    """A wav file, whose header may promise another number of frames."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(round(16000 * seconds)))
    content = bytearray(file.getvalue())
    if promised is not None:
        content[40:44] = (2 * promised).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("answer", "audio", "language", "expected"),
    [
        ("hi", recording(1.5), "", (1.5, "unknown", [(0, 1.5, "hi")])),
        ("hi", recording(1.5, promised=8000 * 3600), "", (1.5, "unknown", [(0, 1.5, "hi")])),
        ("hi", b"no wav", "en", (0.0, "en", [(0, 0.0, "hi")])),
        ("", recording(1), "", (1.0, "unknown", [])),
        ({"text": "hi", "duration": 3, "language": "fr"}, b"", "en", (3.0, "fr", [(0, 3.0, "hi")])),
        ({"sentence": "hi", "other": 200}, recording(2), "", (2.0, "unknown", [(0, 2.0, "hi")])),
        ({"text": "hi", "segments": []}, b"", "", (0.0, "unknown", [])),
        (
            {
                "text": "a b",
                "segments": [{"start": 0, "end": 1, "text": "a"}, {"start": 1, "end": 2.5, "text": "b"}],
            },
            b"",
            "",
            (2.5, "unknown", [(0, 1.0, "a"), (1, 2.5, "b")]),
        ),
    ],
    ids=[
        "wav",
        "wav-that-promises-more",
        "no-wav",
        "silence",
        "told",
        "rabbit-rpc-batch",
        "none",
        "segments",
    ],
)
def test_what_a_reply_does_not_tell_follows_from_the_file_or_is_one_segment(
    answer: object, audio: bytes, language: str, expected: tuple[float, str, list[tuple[float, float, str]]]
) -> None:
    told = msgspec.json.decode(as_verbose_json(transcript_of(answer, audio=audio, language=language)))
    segments = [(each["start"], each["end"], each["text"]) for each in told["segments"]]
    assert (told["duration"], told["language"], segments) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "segments", "start", "end", "duration", "language"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    answer=JSON,
    audio=st.binary(max_size=60) | st.binary(max_size=60).map(lambda end: recording(0)[:44] + end),
)
def test_any_reply_and_any_file_are_a_transcript_or_a_reply_that_makes_no_sense(
    answer: object, audio: bytes
) -> None:
    with suppress(Problem):
        transcript = transcript_of(answer, audio=audio, language="")
        for write in (as_srt, as_vtt, as_verbose_json):
            write(transcript)
