"""QuartzNet from a checkpoint to text: on real speech, in any company, with and without a language model."""

from __future__ import annotations

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch

from rpcb_models.asr import QuartzNet
from rpcb_models.asr.quartznet._recogniser import neighbours
from rpcb_models.asr.quartznet._text import BeamSearch, Greedy, LogProbs
from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.wer import normalised
from rpcb_trio import SettingError
from tests.models.nemo_files import DATA, ENGLISH, configuration, nemo_file

SMALL = Path(__file__).parents[2] / "models" / "rpcb_models" / "asr" / "quartznet_prompts.nemo"
PROMPTS_LM = DATA / "lm_prompts_bigram.arpa"
CHINESE = [" ", *"你好世界今天气很中文语音识别"]
PROMPTS = [clip for clip in recordings() if clip.name.startswith("asterisk")]


@cache
def speech() -> list[Samples]:
    return [read_audio(clip.path.read_bytes()) for clip in PROMPTS]


@pytest.fixture(scope="module")
def small() -> QuartzNet:
    return QuartzNet(SMALL)


@pytest.fixture(scope="module")
def texts(small: QuartzNet) -> list[str]:
    return small.transcribe(speech())


def character_errors(texts: list[str]) -> float:
    return jiwer.cer([normalised(clip.text) for clip in PROMPTS], texts)


def spelled(text: str, labels: list[str] = ENGLISH) -> LogProbs:
    """Log-probabilities under which there is no doubt of the text, a blank after each label."""
    columns = [column for label in text for column in (labels.index(label), len(labels))] or [len(labels)]
    log_probs = np.full((len(columns), len(labels) + 1), -30, np.float32)
    log_probs[range(len(columns)), columns] = 0
    return log_probs


def test_the_small_checkpoint_gets_most_characters_of_its_one_speaker_right(texts: list[str]) -> None:
    assert character_errors(texts) <= 0.27


def test_a_clips_log_probabilities_do_not_depend_on_its_batch(small: QuartzNet) -> None:
    together = small.log_probs(speech())
    for clip, found in list(zip(speech(), together, strict=True))[::4]:
        (alone,) = small.log_probs([clip])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, alone, atol=1e-3)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)


def test_texts_come_in_the_order_of_their_clips(small: QuartzNet, texts: list[str]) -> None:
    order = [13, 0, 14, 7, 1]
    assert small.transcribe([speech()[index] for index in order]) == [texts[index] for index in order]


def test_silence_and_clips_shorter_than_a_frame_have_an_empty_text(small: QuartzNet) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert small.transcribe([silence, silence[:0], speech()[0][:100], silence[:159] + 0.5]) == [""] * 4
    assert [len(found) for found in small.log_probs([silence[:159]])] == [0]
    assert small.transcribe([]) == []


def test_several_threads_may_share_one_recogniser(texts: list[str]) -> None:
    fresh = QuartzNet(SMALL)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda clip: fresh.transcribe([clip])[0], speech()[:6]))
    assert found == texts[:6]


def test_torch_gets_as_many_threads_as_set(small: QuartzNet) -> None:
    QuartzNet(SMALL, threads=2).transcribe(speech()[:1])
    assert torch.get_num_threads() == 2
    small.transcribe(speech()[:1])
    assert torch.get_num_threads() == 1


def test_the_older_features_need_other_weights_but_run(small: QuartzNet) -> None:
    (new,), (old,) = small.log_probs(speech()[:1]), QuartzNet(SMALL, features=1.2).log_probs(speech()[:1])
    assert 0 <= len(old) - len(new) <= 1
    assert not np.allclose(old[: len(new)], new, atol=1e-6)


def test_chinese_characters_are_joined_without_spaces(tmp_path: Path) -> None:
    path = nemo_file(tmp_path / "zh.nemo", configuration(labels=CHINESE))
    zh = QuartzNet(path)
    (log_probs,) = zh.log_probs(speech()[:1])
    assert log_probs.shape[1] == len(CHINESE) + 1
    assert set(zh.transcribe(speech()[:3])[1]) <= set(CHINESE)
    assert zh.texts([spelled("你好世界", CHINESE)]) == ["你好世界"]


def test_greedy_joins_repetitions_unless_a_blank_stands_between() -> None:
    columns = [1, 1, 3, 1, 2, 2, 0, 3, 3]
    log_probs = np.full((len(columns), 4), -9, np.float32)
    log_probs[range(len(columns)), columns] = 0
    assert Greedy([" ", "a", "b"]).text(log_probs) == "aab"
    assert Greedy([" ", "a", "b"]).text(log_probs[:0]) == ""


def beam_search(labels: list[str] = ENGLISH, path: Path = PROMPTS_LM, weight: float = 0.5) -> BeamSearch:
    return BeamSearch(labels, path, weight=weight, bonus=0.0, width=32)


def test_the_language_models_scores_are_kenlms_own() -> None:
    search = beam_search(weight=1.0)
    for sentence in json.loads((DATA / "lm_prompts_bigram.scores.json").read_text()):
        words = len(sentence["full"]) - 1
        if any(unknown for *_, unknown in sentence["full"]) or not words:
            continue  # those get a penalty besides
        best = search._decoder.decode_beams(spelled(sentence["s"]))[0]
        assert best[0] == sentence["s"]
        assert (best[4] - best[3]) / math.log(10) == pytest.approx(sentence["score_bos_eos"], abs=1e-4)


def test_a_language_model_mends_what_the_small_checkpoint_mishears(
    small: QuartzNet, texts: list[str]
) -> None:
    with_lm = QuartzNet(SMALL, lm=PROMPTS_LM)
    mended = with_lm.transcribe(speech())
    assert mended != texts
    assert character_errors(mended) < character_errors(texts)
    assert with_lm.texts(small.log_probs(speech())) == mended


def test_the_search_sees_a_clips_own_frames_alone(texts: list[str]) -> None:
    with_lm = QuartzNet(SMALL, lm=PROMPTS_LM)
    alone = [with_lm.transcribe([clip])[0] for clip in speech()[:4]]
    assert with_lm.transcribe(speech()[:4]) == alone
    assert with_lm.texts([np.zeros((0, 29), np.float32)]) == [""]
    assert len(texts[0]) > 0


def test_a_language_model_of_characters_serves_chinese(tmp_path: Path) -> None:
    path = tmp_path / "zh.arpa"
    path.write_text(
        "\\data\\\nngram 1=6\nngram 2=2\n\n"
        "\\1-grams:\n-99\t<s>\t0\n-1\t</s>\n-9\t<unk>\t0\n-1\t你\t0\n-1\t好\t0\n-1\t很\t0\n\n"
        "\\2-grams:\n-0.1\t你 好\n-5\t你 很\n\n\\end\\\n"
    )
    log_probs = spelled("你很", CHINESE)
    log_probs[2, CHINESE.index("好")] = -0.5
    assert Greedy(CHINESE).text(log_probs) == "你很"
    assert beam_search(CHINESE, path).text(log_probs) == "你好"


def test_a_language_model_that_is_none_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.arpa").write_text("hello")
    (tmp_path / "cut.arpa").write_bytes(PROMPTS_LM.read_bytes()[:5000])
    (tmp_path / "cut.binary").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    for name in ("missing.arpa", "text.arpa", "cut.arpa", "cut.binary"):
        with pytest.raises(SettingError) as caught:
            QuartzNet(SMALL, lm=tmp_path / name).load()
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "extra"), [("ctc_beam_decoder", "lm"), ("yaml", "quartznet")])
def test_a_missing_extra_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("rpcb_models.asr.quartznet._")]:
        if name.endswith(("_archive", "_loading", "_engine")):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SettingError, match=rf"pip install 'rpcb-trio\[{extra}\]'"):
        QuartzNet(SMALL, lm=PROMPTS_LM).load()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"features": "2.0"}, "features"),
        ({"precision": "fp8"}, "precision"),
        ({"threads": 0}, "threads"),
        ({"beam_width": 0}, "beam_width"),
    ],
)
def test_an_option_out_of_range_is_named_at_once(options: dict[str, str | int], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        QuartzNet(SMALL, **options)  # type: ignore[arg-type] # of any option


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_one_line(device: str) -> None:
    with pytest.raises(SettingError, match=f"device is {device}") as caught:
        QuartzNet(SMALL, device=device).load()
    assert "\n" not in str(caught.value)


def test_half_precision_is_refused_on_the_processor() -> None:
    with pytest.raises(SettingError, match="precision is bf16"):
        QuartzNet(SMALL, precision="bf16").load()


def test_another_one_on_a_device_has_the_same_settings(texts: list[str]) -> None:
    placed = QuartzNet(SMALL, device="cuda:9", lm=PROMPTS_LM).on_device("cpu")
    assert placed.transcribe(speech()[:2]) == QuartzNet(SMALL, lm=PROMPTS_LM).transcribe(speech()[:2])
    assert len(texts) == len(speech())


def test_clips_computed_together_are_neighbours_in_length() -> None:
    second = SAMPLE_RATE
    lengths = [2 * second, 8 * second, 2 * second + 1, 8 * second - 1, 5 * second]
    assert neighbours(lengths, gap=1.0, seconds=32.0) == [[1, 3], [4], [2, 0]]
    assert [len(group) for group in neighbours([10 * second] * 8, gap=1.0, seconds=32.0)] == [3, 3, 2]
    assert neighbours([100 * second], gap=1.0, seconds=32.0) == [[0]]
    assert neighbours([], gap=1.0, seconds=32.0) == []
