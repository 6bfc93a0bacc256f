"""A long clip is cut where nobody speaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_models.audio import SAMPLE_RATE, pieces_of, split_in_pauses
from tests.models.sounds import tone


def test_a_clip_is_cut_in_its_pause() -> None:
    clip = tone(7.0, SAMPLE_RATE)
    clip[round(3.4 * SAMPLE_RATE) : round(3.6 * SAMPLE_RATE)] = 0
    first, second = split_in_pauses(clip, 5.0)
    assert len(first) / SAMPLE_RATE == pytest.approx(3.5, abs=0.06)
    np.testing.assert_array_equal(np.concatenate([first, second]), clip)


def test_a_short_clip_stays_whole() -> None:
    clip = tone(5.0, SAMPLE_RATE)
    assert [len(piece) for piece in split_in_pauses(clip, 5.0)] == [len(clip)]
    assert [len(piece) for piece in split_in_pauses(clip[:0], 5.0)] == [0]


@given(
    length=st.integers(0, 9 * SAMPLE_RATE),
    cuts=st.lists(st.integers(0, 9 * SAMPLE_RATE), max_size=5),
    max_seconds=st.floats(1, 3),
)
def test_a_clip_that_comes_in_blocks_is_cut_as_if_it_had_come_whole(
    length: int, cuts: list[int], max_seconds: float
) -> None:
    clip = np.random.default_rng(length).normal(size=length).astype(np.float32)
    whole = split_in_pauses(clip, max_seconds)
    pieces = list(pieces_of(np.split(clip, sorted(cuts)), max_seconds))
    assert [len(piece) for piece in pieces] == [len(piece) for piece in whole]
    np.testing.assert_array_equal(np.concatenate(pieces), clip)


@given(st.integers(0, 6 * SAMPLE_RATE), st.floats(1, 3))
def test_nothing_is_lost_and_no_piece_is_too_long(length: int, max_seconds: float) -> None:
    clip = np.arange(length, dtype=np.float32)
    pieces = split_in_pauses(clip, max_seconds)
    np.testing.assert_array_equal(np.concatenate(pieces), clip)
    assert max(map(len, pieces)) <= max_seconds * SAMPLE_RATE + 1
    assert all(len(piece) >= max_seconds * SAMPLE_RATE / 2 - 1 for piece in pieces[:-1])
