"""What is recognised of a recording: speech, however quiet and however long, and nothing else."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_models.asr import Moonshine
from rpcb_models.asr.hearing import Hearing, Said
from rpcb_models.asr.segments import LONGEST, Stretch, spoken
from rpcb_models.asr.voice_activity import MODEL, _blocks
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.noise import mixed
from rpcb_models.recordings import recordings
from rpcb_models.wer import normalised, word_error_rate
from rpcb_trio import SettingError
from tests.models.noises import MAKERS, coloured, noise, room

TEXTS = [clip.text for clip in recordings()]


@cache
def speech() -> list[Samples]:
    return [read_audio(clip.path.read_bytes()) for clip in recordings()]


@pytest.fixture(scope="module")
def hearing(moonshine: Moonshine) -> Hearing:
    return Hearing(moonshine)


def said(hearing: Hearing, clip: Samples) -> list[Said]:
    (heard,) = hearing.hear([hearing.segments(clip)])
    return heard


def texts(hearing: Hearing, clips: list[Samples]) -> list[str]:
    heard = hearing.hear([hearing.segments(clip) for clip in clips])
    return [" ".join(each.text for each in recording) for recording in heard]


@pytest.mark.parametrize("kind", MAKERS)
def test_noise_is_not_words(hearing: Hearing, kind: str) -> None:
    clips = [noise(kind, dbfs=dbfs, seconds=seconds) for dbfs in (-10, -30, -55) for seconds in (0.5, 4.0)]
    assert texts(hearing, clips) == [""] * len(clips)


def test_a_quiet_room_is_not_words(hearing: Hearing) -> None:
    assert texts(hearing, [room(1.0), room(10.0), room(40.0)]) == ["", "", ""]


@pytest.mark.parametrize("samples", [0, 1, 2, 511, 512, 513, 1000])
def test_a_few_samples_are_not_words(hearing: Hearing, samples: int) -> None:
    assert texts(hearing, [np.full(samples, 0.5, np.float32)]) == [""]


def loudness(clip: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(clip))))


def test_speech_keeps_its_text_behind_the_gate(hearing: Hearing, moonshine: Moonshine) -> None:
    gated, plain = texts(hearing, speech()), moonshine.transcribe(speech())
    assert word_error_rate(TEXTS, gated) <= word_error_rate(TEXTS, plain) + 0.005


@pytest.mark.parametrize(("dbfs", "first"), [(-40, 0), (-60, 1)], ids=["-40", "-60"])
def test_quiet_speech_keeps_its_text(hearing: Hearing, moonshine: Moonshine, dbfs: int, first: int) -> None:
    """Each half of the recordings is as quiet as one of the two."""
    quiet = [clip * np.float32(10 ** (dbfs / 20) / loudness(clip)) for clip in speech()[first::2]]
    assert word_error_rate(TEXTS[first::2], texts(hearing, quiet)) <= (
        word_error_rate(TEXTS[first::2], moonshine.transcribe(quiet)) + 0.01
    )


@pytest.mark.parametrize("slope", [0.0, 0.5], ids=["white", "pink"])
def test_speech_in_noise_keeps_its_text(hearing: Hearing, moonshine: Moonshine, slope: float) -> None:
    generator = np.random.default_rng(1)
    noisy = [mixed(clip, coloured(len(clip), generator, slope).astype(np.float32), 10) for clip in speech()]
    assert word_error_rate(TEXTS, texts(hearing, noisy)) <= (
        word_error_rate(TEXTS, moonshine.transcribe(noisy)) + 0.01
    )


def test_quiet_speech_beside_a_loud_click_is_heard(hearing: Hearing) -> None:
    clips = [np.concatenate((clip * np.float32(0.003 / loudness(clip)), room(1.0))) for clip in speech()[:5]]
    for clip in clips:
        clip[-8000:-7920] = 0.9
    assert all(hearing.segments(clip) for clip in clips)


def test_a_long_pause_adds_no_word_and_its_segments_say_when_each_part_was_spoken(hearing: Hearing) -> None:
    first, second = speech()[0], speech()[1]
    clip = np.concatenate((room(21.0), first, room(25.0), second, room(30.0)))
    heard = said(hearing, clip)
    assert [normalised(each.text) for each in heard] == [
        normalised(text) for text in texts(hearing, [first, second])
    ]
    at = 21 + len(first) / SAMPLE_RATE + 25
    assert [each.start for each in heard] == [pytest.approx(21, abs=0.7), pytest.approx(at, abs=0.7)]
    assert heard[1].end == pytest.approx(at + len(second) / SAMPLE_RATE, abs=0.7)


def test_a_long_recording_is_heard_in_segments_none_too_long(hearing: Hearing) -> None:
    clip = np.concatenate([part for each in speech() for part in (each, room(0.8))])
    assert len(clip) > 120 * SAMPLE_RATE
    segments = hearing.segments(clip)
    assert max(segment.seconds for segment in segments) <= LONGEST
    heard = said(hearing, clip)
    assert word_error_rate([" ".join(TEXTS)], [" ".join(each.text for each in heard)]) <= 0.08
    assert all(one.end <= other.start + 0.001 for one, other in pairwise(heard))


def test_without_the_gate_a_clip_is_heard_whole(moonshine: Moonshine) -> None:
    (segment,) = Hearing(moonshine, gate=False).segments(room(3.0))
    assert segment.seconds == 3.0


class Says:
    """A recogniser that always says the same, and takes one word of it for nothing."""

    unspoken = frozenset({"mm hmm"})

    def __init__(self, text: str) -> None:
        self._text = text

    def load(self) -> None: ...

    def transcribe(self, clips: list[Samples]) -> list[str]:
        return [self._text] * len(clips)


@pytest.mark.parametrize(
    ("text", "probability", "heard"),
    [("Mm-hmm.", 0.7, []), ("Mm-hmm.", 0.95, ["Mm-hmm."]), ("Four.", 0.7, ["Four."]), ("Four.", 0.55, [])],
)
def test_what_a_recogniser_says_of_nothing_counts_only_where_there_is_no_doubt_of_speech(
    text: str, probability: float, heard: list[str]
) -> None:
    segments = spoken(room(1.0), [Stretch(0, 8000, probability)])
    (found,) = Hearing(Says(text), gate=False).hear([segments])
    assert [each.text for each in found] == heard


@given(
    length=st.integers(1, 90 * SAMPLE_RATE),
    marks=st.lists(st.integers(0, 90 * SAMPLE_RATE), max_size=20, unique=True),
)
def test_segments_hold_all_speech_once_in_order_and_within_the_bound(length: int, marks: list[int]) -> None:
    ends = sorted(mark for mark in marks if mark <= length)
    stretches = [
        Stretch(start, stop, 0.95) for start, stop in zip(ends[::2], ends[1::2], strict=False) if start < stop
    ]
    clip = (np.arange(length) % 1009 / 1009).astype(np.float32)
    segments = spoken(clip, stretches)
    assert all(one.start + len(one.pcm) <= other.start for one, other in pairwise(segments))
    for segment in segments:
        own = clip[segment.start : segment.start + len(segment.pcm)]
        np.testing.assert_allclose(segment.samples, own, atol=2**-15)
        assert 0 < segment.seconds <= LONGEST
    for stretch in stretches:
        assert any(each.start <= stretch.start < each.start + len(each.pcm) for each in segments)
        assert any(each.start < stretch.stop <= each.start + len(each.pcm) for each in segments)


def test_a_long_clips_frames_are_those_of_one_piece() -> None:
    clip = np.concatenate([part for each in speech()[:9] for part in (each, room(0.5))])
    assert len(clip) > 512 * 512
    frames = np.concatenate(list(_blocks(clip, np.float32(1))))
    padded = np.concatenate((np.zeros(64, np.float32), clip, np.zeros(-len(clip) % 512, np.float32)))
    assert len(frames) == (len(padded) - 64) // 512
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, padded[number * 512 : number * 512 + 576])


def test_the_model_is_the_file_that_its_card_says() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in MODEL.with_suffix(".md").read_text()


def test_without_its_library_the_gate_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingError, match=r"pip install onnxruntime, or set speech_only to false"):
        Hearing(Says("")).load()
