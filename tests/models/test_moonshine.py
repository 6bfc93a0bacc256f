"""Moonshine on real speech: as good in a batch as alone, and never stuck on what is no speech."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import soxr

from rpcb_models.asr import Moonshine
from rpcb_models.asr.moonshine import _groups, _words
from rpcb_models.asr.moonshine_graphs import Utterance, _providers
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.wer import normalised, word_error_rate
from rpcb_trio import SettingError
from tests.models.sounds import tone

LIBRIVOX = [clip for clip in recordings() if clip.name.startswith("librivox")]
TEXTS = [clip.text for clip in recordings()]


@cache
def speech() -> list[Samples]:
    return [read_audio(clip.path.read_bytes()) for clip in recordings()]


@pytest.fixture(scope="module")
def alone(moonshine: Moonshine) -> list[str]:
    return [moonshine.transcribe([clip])[0] for clip in speech()]


def in_batches(moonshine: Moonshine, clips: list[Samples], size: int) -> list[str]:
    starts = range(0, len(clips), size)
    return [text for start in starts for text in moonshine.transcribe(clips[start : start + size])]


def librivox_error_rate(texts: list[str]) -> float:
    return word_error_rate(TEXTS[-len(LIBRIVOX) :], texts[-len(LIBRIVOX) :])


def test_at_most_6_words_in_100_are_wrong_alone(alone: list[str]) -> None:
    assert librivox_error_rate(alone) <= 0.06
    assert word_error_rate(TEXTS, alone) <= 0.06


@pytest.mark.parametrize("size", [5, 25])
def test_at_most_6_words_in_100_are_wrong_in_a_batch(moonshine: Moonshine, size: int) -> None:
    texts = in_batches(moonshine, speech(), size)
    assert librivox_error_rate(texts) <= 0.06
    assert word_error_rate(TEXTS, texts) <= 0.06


def test_a_clips_words_hardly_depend_on_its_batch(moonshine: Moonshine, alone: list[str]) -> None:
    together = in_batches(moonshine, speech(), 8)
    same = sum(normalised(one) == normalised(other) for one, other in zip(alone, together, strict=True))
    assert same >= 0.8 * len(alone)  # 8-bit arithmetic rounds by the batch's largest values


def test_alone_a_clips_text_is_its_own_whatever_its_batch(alone: list[str]) -> None:
    assert Moonshine(alone=True).transcribe(speech()) == alone


def test_speech_half_as_fast_again_is_not_cut_short(
    moonshine: Moonshine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = [soxr.resample(clip, 1.5 * SAMPLE_RATE, SAMPLE_RATE) for clip in speech()]
    texts = in_batches(moonshine, fast, 5)
    monkeypatch.setattr("rpcb_models.asr.moonshine._TOKENS_PER_SECOND", 60.0)
    assert in_batches(moonshine, fast, 5) == texts
    assert word_error_rate(TEXTS, texts) <= 0.45


def utterance(tokens: list[int], most: int = 500) -> Utterance:
    one = Utterance(samples=0, frames=0, max_tokens=most, cache={})
    for token in tokens:
        if one.done:
            break
        one.take(token)
    return one


@pytest.mark.parametrize("phrase", [[7], [7, 8], [7, 8, 9], [7] * 3 + [8] * 3, [*range(10, 22)]])
def test_a_phrase_that_is_repeated_without_end_is_kept_once(phrase: list[int]) -> None:
    one = utterance([3, 4, *phrase * 30])
    assert one.done
    assert one.tokens == [3, 4, *phrase]


@pytest.mark.parametrize("phrase", [[7], [7, 8], [7, 8, 9, 10, 11]])
def test_what_people_repeat_stays(phrase: list[int]) -> None:
    assert utterance([3, *phrase * 7, 5, 2]).tokens == [3, *phrase * 7, 5]


def test_signs_alone_are_no_text() -> None:
    assert [_words(text) for text in ("♪ ♪", "...", "", "🎵❤", "A.", "世界")] == [
        "",
        "",
        "",
        "",
        "A.",
        "世界",
    ]


def test_a_gpu_is_used_where_onnxruntime_has_the_provider_and_is_refused_where_not() -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert _providers("cpu", both) == [("CPUExecutionProvider", {})]
    assert _providers("cuda:1", both) == [
        ("CUDAExecutionProvider", {"device_id": "1"}),
        ("CPUExecutionProvider", {}),
    ]
    assert _providers("cuda", both)[0] == ("CUDAExecutionProvider", {"device_id": "0"})
    with pytest.raises(
        SettingError, match="device is cuda:1, but this onnxruntime has no CUDAExecutionProvider"
    ):
        _providers("cuda:1", both[1:])
    for name in ("gpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(SettingError, match="runs on cpu or cuda:N"):
            _providers(name, both)


def test_a_provider_that_onnxruntime_drops_in_silence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(SettingError, match="can't use"),
    ):
        Moonshine(device="cuda:0").load()


def test_a_provider_that_can_not_take_the_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for this step\non this device")

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(
        SettingError, match=r"with CUDAExecutionProvider \(no kernel for this step on this device\)"
    ):
        Moonshine(device="cuda:0").load()
    with pytest.raises(RuntimeError):
        Moonshine().load()


def test_another_one_on_a_device_has_the_same_settings_and_on_its_own_is_itself(moonshine: Moonshine) -> None:
    assert moonshine.on_device("cpu") is moonshine
    placed = Moonshine(alone=True, threads=2).on_device("cuda:1")
    assert (placed._device, placed._alone, placed._threads) == ("cuda:1", True, 2)


def test_texts_come_in_the_order_of_their_clips(moonshine: Moonshine, alone: list[str]) -> None:
    order = [24, 0, 20, 1, 23]
    texts = moonshine.transcribe([speech()[index] for index in order])
    for index, text in zip(order, texts, strict=True):
        assert word_error_rate([alone[index]], [text]) < 0.3


def test_silence_and_nothing_have_an_empty_text(moonshine: Moonshine, alone: list[str]) -> None:
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    assert moonshine.transcribe([silence, speech()[0], silence[:0]]) == ["", alone[0], ""]
    assert moonshine.transcribe([]) == []


@pytest.mark.parametrize("samples", [1, 100, 894, 895, 2000])
def test_the_shortest_clips_are_taken(moonshine: Moonshine, samples: int) -> None:
    (text,) = moonshine.transcribe([tone(1.0, SAMPLE_RATE)[1 : 1 + samples]])
    assert len(text) < 20


def test_what_is_no_speech_ends_by_the_count_of_tokens(moonshine: Moonshine) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 4 * SAMPLE_RATE).astype(np.float32).clip(-1, 1)
    for text in moonshine.transcribe([noise, tone(4.0, SAMPLE_RATE)]):
        assert len(text.split()) <= 26


def test_a_long_clip_is_cut_in_pauses_and_its_texts_joined(moonshine: Moonshine) -> None:
    clip = np.concatenate(speech())
    assert len(clip) > 100 * SAMPLE_RATE
    (text,) = moonshine.transcribe([clip])
    assert word_error_rate([" ".join(TEXTS)], [text]) <= 0.08


def test_several_replicas_may_share_one_recogniser(moonshine: Moonshine, alone: list[str]) -> None:
    with ThreadPoolExecutor(2) as threads:
        texts = list(threads.map(lambda clip: moonshine.transcribe([clip])[0], speech()[:6]))
    assert texts == alone[:6]


def test_the_first_batch_loads_the_model_where_nobody_warmed_it_up() -> None:
    (text,) = Moonshine(threads=2).transcribe([speech()[1]])
    assert normalised(text) == "all circuits are busy now"


def test_clips_that_decode_together_are_of_similar_length_and_few() -> None:
    second = SAMPLE_RATE
    assert _groups([2 * second, 14 * second, 2 * second + 1, 10 * second, 8 * second]) == [
        [1, 3],
        [4],
        [2, 0],
    ]
    assert [len(group) for group in _groups([16 * second] * 8)] == [3, 3, 2]
    assert _groups([]) == []
