"""A wav's header is often wrong about its sound's length; what is there counts."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_models.audio import SAMPLE_RATE, AudioError, read_audio
from rpcb_models.wire import Status
from tests.models.sounds import audio_file, recording, tone

WHOLE = audio_file("wav", seconds=2.0)
SIZE = 2 * 2 * SAMPLE_RATE
MISCOUNTS = st.one_of(st.integers(-3_200, 3_200), st.sampled_from([-1, 1, 2, 8, 36, 44, 46, 78, 3_200]))


def claiming(sound: int, file: int | None = None, whole: bytes = WHOLE) -> bytes:
    """The same wav, with another length in its header."""
    at = whole.index(b"data") + 4
    file = file if file is not None else (sound + at - 4) % 2**32
    return whole[:4] + struct.pack("<I", file) + whole[8:at] + struct.pack("<I", sound) + whole[at + 4 :]


@settings(deadline=None)
@given(MISCOUNTS, st.integers(0, 2**32 - 1))
def test_a_length_that_is_a_little_wrong_costs_nothing(miscount: int, file: int) -> None:
    samples, whole = read_audio(claiming(SIZE + miscount, file)), read_audio(WHOLE)
    assert 0 <= len(whole) - len(samples) <= 8  # the last few may look like padding, or like text
    np.testing.assert_array_equal(samples, whole[: len(samples)])


@pytest.mark.parametrize(
    "sound", [0, 0xFFFF_FFFF, 0xFFFF_FFFE, 0x7FFF_FFFF, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFDB]
)
@pytest.mark.parametrize("file", [0, 36, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_who_writes_to_a_pipe_knows_no_length_and_all_is_read(sound: int, file: int) -> None:
    np.testing.assert_array_equal(read_audio(claiming(sound, file)), read_audio(WHOLE))


@pytest.mark.parametrize("sound", [2, 4_096, 16_000, SIZE // 2])
def test_a_length_from_the_start_of_a_recording_loses_nothing_of_what_came_later(sound: int) -> None:
    np.testing.assert_array_equal(read_audio(claiming(sound)), read_audio(WHOLE))


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf62.12.102\0",
        b"id3 \x0a\0\0\0ID3\4\0\0\0\0\0\0",
        b"TAG" + b"title".ljust(124, b"\0") + b"\xff",
        b"\r\n--boundary--\r\n",
        b"cue \x04\0\0\0\0\0\0\0LIST\x04\0\0\0adtl",
    ],
    ids=["LIST", "id3", "TAG", "boundary", "cue"],
)
def test_what_is_no_sound_behind_the_sound_is_not_heard(behind: bytes) -> None:
    np.testing.assert_array_equal(read_audio(WHOLE + behind), read_audio(WHOLE))


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7F00_0000])
@pytest.mark.parametrize("frames", [0, 0xFFFF_FFFF, 0x7F00_0000, 44_100 + 44, 44_100 - 44])
def test_an_aiff_written_to_a_pipe_is_read(size: int, frames: int) -> None:
    whole = recording("aiff")
    body = bytearray(whole)
    struct.pack_into(">I", body, body.index(b"COMM") + 10, frames)
    struct.pack_into(">I", body, body.index(b"SSND") + 4, size)
    struct.pack_into(">I", body, 4, size)
    np.testing.assert_array_equal(read_audio(bytes(body)), read_audio(whole))


@pytest.mark.parametrize("name", ["aiff", "au", "w64"])
def test_a_part_is_403_in_other_containers_too(name: str) -> None:
    whole = recording(name, seconds=4.0)
    with pytest.raises(AudioError, match="cut short") as caught:
        read_audio(whole[: len(whole) // 2])
    assert caught.value.status == Status.UNPARSEABLE


def test_a_part_of_a_wav_is_403_and_says_how_much_is_there() -> None:
    with pytest.raises(AudioError, match="cut short: 32000 of 64000 bytes are there") as caught:
        read_audio(WHOLE[: len(WHOLE) - 32_000])
    assert caught.value.status == Status.UNPARSEABLE


@pytest.mark.parametrize(
    "name", ["wav with mu-law", "wav with GSM (wav49), and a byte too many", "wav with mp3"]
)
@pytest.mark.parametrize("miscount", [-44, 2, 44])
def test_a_compressed_wav_may_miscount_too(name: str, miscount: int) -> None:
    whole = recording(name)
    at = whole.index(b"data") + 4
    (size,) = struct.unpack_from("<I", whole, at)
    samples = read_audio(claiming(size + miscount, whole=whole))
    assert abs(len(samples) - len(read_audio(whole))) < SAMPLE_RATE // 10


@pytest.mark.parametrize("width", [8, 16, 24, 32])
def test_an_extensible_wav_of_any_width_is_read(width: int) -> None:
    data = (tone(1.0, 8_000) * 2 ** (width - 1)).astype(np.int64)
    stored = (
        (data + 128 if width == 8 else data)
        .astype("<i8")
        .view(np.uint8)
        .reshape(-1, 8)[:, : width // 8]
        .tobytes()
    )
    block = width // 8
    subformat = b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8_000, 8_000 * block, block, width, 22, width, 4) + subformat
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(stored)) + stored
    samples = read_audio(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    middle = slice(1_000, 15_000)
    np.testing.assert_allclose(
        samples[middle], tone(1.0, SAMPLE_RATE)[middle], atol=2e-2 if width == 8 else 2e-3
    )
