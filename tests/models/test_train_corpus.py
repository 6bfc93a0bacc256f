"""What the recipe learns from: prompts and synthetic speech, split by text, in batches, augmented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rpcb_models.asr.train.augmentation import masked, varied
from rpcb_models.asr.train.batches import shuffled_neighbours
from rpcb_models.asr.train.corpus import Clip, shipped, split
from rpcb_models.asr.train.labels import LABELS, label_text
from rpcb_models.asr.train.synthesis import synthetic_clips
from rpcb_models.audio import SAMPLE_RATE
from rpcb_models.recordings import recordings
from rpcb_trio import SettingError


def silence(seconds: float, text: str, name: str = "") -> Clip:
    return Clip(name, np.zeros(round(seconds * SAMPLE_RATE), np.float32), text)


@pytest.mark.parametrize(
    ("transcript", "text"),
    [
        ("Press 1, or 'two'.", "press one or two"),
        ("You don\N{RIGHT SINGLE QUOTATION MARK}t!", "you don't"),
        ("IAX (note: does not say 2)", "iax"),
        ("[sound of monkeys screaming]", None),
        ("Extension 1234", None),
        ("", None),
    ],
)
def test_a_transcript_is_written_in_the_labels_or_left_out(transcript: str, text: str | None) -> None:
    assert label_text(transcript) == text


def test_there_are_28_labels_in_the_order_of_public_checkpoints() -> None:
    assert "".join(LABELS) == " abcdefghijklmnopqrstuvwxyz'"


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1), st.integers(), st.floats(0.05, 0.9), st.integers(0, 3)
)
def test_no_text_is_both_learned_and_validated(
    letters: list[str], seed: int, share: float, short: int
) -> None:
    given_clips = [silence(0.01, f"say {letter} twice") for letter in letters] + [silence(0.01, "a")] * short
    halves = split(given_clips, share=share, seed=seed)
    learned, heard = ({clip.text for clip in half} for half in (halves.training, halves.validation))
    assert not learned & heard
    assert heard
    assert len(halves.training) + len(halves.validation) == len(given_clips)
    again = split(given_clips, share=share, seed=seed)
    assert again == halves


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.integers(0, 9))
def test_every_clip_is_in_one_batch_and_batches_keep_to_their_size(lengths: list[float], seed: int) -> None:
    given_clips = [silence(seconds, "a") for seconds in lengths]
    groups = shuffled_neighbours(given_clips, seconds=6, seed=str(seed))
    assert sorted(map(id, given_clips)) == sorted(id(clip) for group in groups for clip in group)
    for group in groups:
        assert max(clip.seconds for clip in group) * len(group) <= 6.001


def test_augmentation_changes_a_clip_a_little_and_the_same_way_for_the_same_seed() -> None:
    samples = shipped("librivox")[0].samples
    torch.manual_seed(1)
    one, other = varied(samples), varied(samples)
    torch.manual_seed(1)
    assert torch.equal(varied(samples), one)
    assert len(one) != len(other)
    assert 0.9 < len(one) / len(samples) < 1.12
    assert one.dtype == torch.float32


def test_masks_hide_some_of_each_clip_and_never_most() -> None:
    torch.manual_seed(0)
    shown = masked(torch.ones(16, 64, 200), torch.full((16,), 200)).mean((1, 2))
    assert shown.mean() < 0.95
    assert shown.min() > 0.5


def test_without_espeak_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert synthetic_clips(["press the one"], 0, unseen=set(), seed=0) == []
    with pytest.raises(SettingError, match="apt-get install espeak-ng, or --synthetic 0"):
        synthetic_clips(["press the one"], 1, unseen=set(), seed=0)


def test_synthetic_sentences_are_like_the_texts_and_none_of_the_unseen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    speaker = tmp_path / "espeak-ng"
    wav = recordings()[0].path
    speaker.write_text(f'#!/bin/sh\nwhile [ "$1" != -w ]; do shift; done\n/bin/cp {wav} "$2"\n', "utf-8")
    speaker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    texts = ["press the one", "find the two", "no"]
    found = synthetic_clips(texts, 8, unseen={"press the two"}, seed=0)
    assert {clip.text for clip in found} <= {"press the one", "find the two", "find the one"}
    assert [clip.text for clip in found] == [
        clip.text for clip in synthetic_clips(texts, 8, unseen={"press the two"}, seed=0)
    ]
    assert all(clip.seconds > 1 for clip in found)
