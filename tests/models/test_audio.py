"""Whatever a stranger's bytes are, they become samples or an AudioError with the right status."""

from __future__ import annotations

import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_models.audio import SAMPLE_RATE, AudioError, Samples, read_audio
from rpcb_models.wire import Status
from tests.models.sounds import FILES, audio_file, loudest_hertz, tone

stored = cache(audio_file)
formats = st.sampled_from(sorted(FILES))
hints = st.none() | st.sampled_from([*FILES, "xyz", ""]) | st.text(max_size=8)


def status_of(body: bytes, hint: str | None = None, **limits: float) -> Status:
    with pytest.raises(AudioError) as caught:
        read_audio(body, hint, **limits)  # type: ignore[arg-type] # of any limit
    return caught.value.status


def samples_or_error(body: bytes, hint: str | None) -> Samples | AudioError:
    try:
        return read_audio(body, hint, max_seconds=5)
    except AudioError as error:
        return error


def assert_usable_or_refused(result: Samples | AudioError) -> None:
    if isinstance(result, AudioError):
        assert result.status in {Status.UNSUPPORTED_FORMAT, Status.UNPARSEABLE, Status.EMPTY}
    else:
        assert_usable(result)


def assert_usable(samples: Samples) -> None:
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0 < len(samples) <= 5.1 * SAMPLE_RATE
    assert np.abs(samples).max() <= 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_format_a_producer_sends_is_read(name: str) -> None:
    samples = read_audio(stored(name, seconds=2.0), name)
    assert_usable(samples)
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.15)
    assert loudest_hertz(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_a_wav_of_any_sample_width_gives_the_same_samples(codec: str) -> None:
    samples = read_audio(stored("wav", codec=codec))
    np.testing.assert_allclose(samples, tone(1.0, SAMPLE_RATE), atol=1 / 127 if codec == "pcm_u8" else 1e-4)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_a_wav_of_any_rate_and_channel_count_gives_the_same_sound(rate: int, layout: str) -> None:
    samples = read_audio(stored("wav", rate=rate, layout=layout))
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=1)
    middle = slice(1_000, 15_000)
    np.testing.assert_allclose(samples[:15_000][middle], tone(1.0, SAMPLE_RATE)[middle], atol=2e-3)


@pytest.mark.parametrize("name", ["aac", "flac"])
def test_eight_channels_stored_one_by_one_are_read(name: str) -> None:
    samples = read_audio(stored(name, layout="7.1", rate=48_000))
    assert loudest_hertz(samples) == pytest.approx(440, abs=2)


def test_what_lies_above_8_kilohertz_does_not_come_back_as_an_alias() -> None:
    samples = read_audio(audio_file("wav", rate=48_000, hertz=11_000, codec="pcm_f32le"))
    assert np.abs(samples[500:-500]).max() < 0.3 * 10 ** (-80 / 20)


def test_the_content_decides_and_a_lying_format_does_not() -> None:
    for name in set(FILES) - {"g722"}:
        for hint in ("wav", "mp3", "flac", "xyz", "", None):
            assert_usable(read_audio(stored(name), hint))


def test_the_formats_name_may_be_in_capitals_or_with_a_dot() -> None:
    assert_usable(read_audio(stored("g722"), ".G722"))


@pytest.mark.parametrize("name", ["mp3", "flac"])
def test_an_id3_tag_in_front_is_passed_over(name: str) -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 8, 0]) + bytes(1024)
    np.testing.assert_array_equal(read_audio(tag + stored(name)), read_audio(stored(name)))


def test_empty_audio_is_408() -> None:
    no_samples = stored("wav")[: stored("wav").index(b"data")] + b"data" + bytes(4)
    assert status_of(b"", "wav") == Status.EMPTY
    assert status_of(no_samples, "wav") == Status.EMPTY


@pytest.mark.parametrize("name", ["wav", "flac", "m4a"])
def test_silence_is_408(name: str) -> None:
    assert status_of(audio_file(name, hertz=0.0), name) == Status.EMPTY


def test_an_unknown_format_is_402() -> None:
    assert status_of(b"%PDF-1.7" + bytes(500), "pdf") == Status.UNSUPPORTED_FORMAT
    assert status_of(b"%PDF-1.7" + bytes(500)) == Status.UNSUPPORTED_FORMAT


def test_bytes_that_are_not_what_a_known_format_promises_are_403() -> None:
    for hint in ("wav", "mp3", "aac", "m4a", "flac", "ogg"):
        assert status_of(b"%PDF-1.7" + bytes(500), hint) == Status.UNPARSEABLE


def test_a_playlist_opens_nothing() -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    assert status_of(playlist) == Status.UNSUPPORTED_FORMAT
    assert status_of(playlist, "mp3") == Status.UNPARSEABLE


def test_a_codec_that_is_not_for_this_is_402() -> None:
    assert status_of(audio_file("wav", codec="ac3", rate=48_000)) == Status.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", ["wav", "mp3", "aac", "m4a", "flac", "opus"])
def test_half_a_file_is_403(name: str) -> None:
    whole = stored(name, seconds=2.0)
    assert status_of(whole[: len(whole) // 2], name) == Status.UNPARSEABLE


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_written_to_a_pipe_does_not_know_its_size_and_is_read(size: int) -> None:
    whole = stored("wav")
    at = whole.index(b"data") + 4
    told = struct.pack("<I", size)
    np.testing.assert_array_equal(
        read_audio(whole[:4] + told + whole[8:at] + told + whole[at + 4 :]), read_audio(whole)
    )


def test_a_damaged_frame_in_the_middle_costs_that_frame_alone() -> None:
    whole = bytearray(stored("flac", seconds=4.0))
    middle = len(whole) // 2
    whole[middle : middle + 8] = os.urandom(8)
    samples = read_audio(bytes(whole), "flac")
    assert 3.5 < len(samples) / SAMPLE_RATE <= 4.0


@settings(deadline=None)
@given(st.floats(0.3, 0.7), st.integers(0, 7))
def test_a_flipped_bit_costs_no_more_than_a_moment(where: float, bit: int) -> None:
    body = bytearray(stored("m4a", seconds=10.0))
    body[int(len(body) * where)] ^= 1 << bit
    assert len(read_audio(bytes(body))) / SAMPLE_RATE > 9.5


def test_a_file_beyond_the_limits_is_403() -> None:
    assert status_of(stored("wav", seconds=2.0), max_seconds=1.9) == Status.UNPARSEABLE
    assert status_of(stored("wav", seconds=2.0), max_bytes=10_000) == Status.UNPARSEABLE


def test_a_quarter_of_an_hour_in_few_bytes_is_refused_whatever_length_it_tells() -> None:
    hours = audio_file("flac", seconds=900, rate=8_000, hertz=0.0)
    assert len(hours) < 200_000
    assert status_of(hours) == Status.UNPARSEABLE
    without_length = (
        hours[:18] + bytes([hours[18], hours[19], hours[20], hours[21] & 0xF0]) + bytes(4) + hours[26:]
    )
    assert status_of(without_length) == Status.UNPARSEABLE


def test_a_table_of_millions_of_packets_is_refused_before_it_is_built() -> None:
    body = bytearray(stored("m4a"))
    at = body.index(b"stsz")
    body[at + 8 : at + 16] = struct.pack(">II", 1, 2**26)
    assert status_of(bytes(body)) == Status.UNPARSEABLE


def test_a_comment_that_claims_gigabytes_is_dropped_unread() -> None:
    whole = stored("wav")
    comment = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 0xD800001A) + bytes(14)
    np.testing.assert_array_equal(read_audio(whole[:12] + comment + whole[12:]), read_audio(whole))
    endless = b"LIST" + struct.pack("<I", 0xD800001A) + b"INFOISFT"
    assert status_of(whole[:12] + endless + whole[12:]) == Status.UNPARSEABLE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_samples_that_are_no_numbers_are_403(value: float) -> None:
    whole = stored("wav", codec="pcm_f32le")
    assert status_of(whole[:-4] + struct.pack("<f", value)) == Status.UNPARSEABLE


def test_samples_beyond_full_scale_are_clipped() -> None:
    whole = stored("wav", codec="pcm_f32le")
    samples = read_audio(whole[:-4] + struct.pack("<f", 1e30))
    assert samples[-1] == 1


@pytest.mark.parametrize(("rate", "channels"), [(1_000, 1), (16_000, 60)])
def test_rates_and_channel_counts_of_no_recorder_are_402(rate: int, channels: int) -> None:
    data = b"\x00\x10" * channels * 100
    block = channels * 2
    header = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block, block, 16)
    size = struct.pack("<I", len(data))
    body = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + header + b"data" + size + data
    assert status_of(body) == Status.UNSUPPORTED_FORMAT


@settings(deadline=None)
@given(formats, st.floats(0, 1), hints)
def test_a_file_cut_anywhere_gives_samples_or_an_audio_error(
    name: str, share: float, hint: str | None
) -> None:
    whole = stored(name)
    assert_usable_or_refused(samples_or_error(whole[: int(len(whole) * share)], hint))


@settings(deadline=None)
@given(
    st.sampled_from(
        [b"", b"RIFF\xff\xff\0\0WAVEfmt ", b"ID3\x04", b"\xff\xfb\x90", b"\xff\xf1\x50", b"fLaC", b"OggS"]
    ),
    st.binary(max_size=3_000),
    hints,
)
def test_any_bytes_give_samples_or_an_audio_error(mark: bytes, rest: bytes, hint: str | None) -> None:
    assert_usable_or_refused(samples_or_error(mark + rest, hint))


@settings(deadline=None)
@given(
    formats,
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5),
)
def test_a_file_with_bytes_overwritten_gives_samples_or_an_audio_error(
    name: str, scars: list[tuple[float, bytes]]
) -> None:
    body = bytearray(stored(name))
    for where, scar in scars:
        at = int(len(body) * where)
        body[at : at + len(scar)] = scar
    assert_usable_or_refused(samples_or_error(bytes(body), name))


def test_files_are_read_in_several_threads_at_once() -> None:
    bodies = [(stored(name), name) for name in FILES] * 8
    alone = [read_audio(*body) for body in bodies[: len(FILES)]]
    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4, initializer=barrier.wait) as threads:
        together = list(threads.map(lambda body: read_audio(*body), bodies))
    for index, samples in enumerate(together):
        np.testing.assert_array_equal(samples, alone[index % len(FILES)])


def test_libav_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for name in FILES:
        body = stored(name)
        for bad in (body[:200], body[: len(body) // 2], body[:100] + os.urandom(500) + body[600:]):
            samples_or_error(bad, name)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
