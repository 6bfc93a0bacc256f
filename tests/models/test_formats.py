"""What browsers, phones and telephone systems record is read; nothing else is."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from rpcb_models.audio import SAMPLE_RATE, AudioError, read_audio
from rpcb_models.decoding._formats import CODECS
from rpcb_models.wire import Status
from tests.models.sounds import (
    EVERY,
    RECORDERS,
    audio_file,
    hint_of,
    loudest_hertz,
    recording,
    tone,
    written,
)


def refusal_of(body: bytes, hint: str | None = None) -> AudioError:
    with pytest.raises(AudioError) as caught:
        read_audio(body, hint)
    return caught.value


@pytest.mark.parametrize("name", EVERY)
def test_what_a_recorder_writes_is_read(name: str) -> None:
    samples = read_audio(recording(name), hint_of(name))
    assert len(samples) / SAMPLE_RATE == pytest.approx(1.0, abs=0.12)
    assert loudest_hertz(samples) == pytest.approx(440, abs=3)
    assert np.abs(samples[1_600:-1_600]).max() == pytest.approx(0.3, abs=0.2)


@pytest.mark.parametrize("name", [each for each in EVERY if not hint_of(each)])
@pytest.mark.parametrize("hint", [None, "wav", "mp3", "audio/webm;codecs=opus", "nonsense"])
def test_the_content_tells_what_it_is_whatever_the_request_calls_it(name: str, hint: str | None) -> None:
    np.testing.assert_array_equal(read_audio(recording(name), hint), read_audio(recording(name)))


NEEDS_A_FILE = {name for name, kind in RECORDERS.items() if kind.container in {"3gp", "ipod", "mov"}} | {
    "mp4 with opus",
    "mp4 with mp3",
    "mp4 with flac",
    "caf with alac",
}


@pytest.mark.parametrize("name", sorted(RECORDERS.keys() - NEEDS_A_FILE))
def test_what_was_written_to_a_pipe_knows_no_length_and_is_read(name: str) -> None:
    piped = recording(name, piped=True)
    np.testing.assert_array_equal(
        read_audio(piped, hint_of(name)), read_audio(recording(name), hint_of(name))
    )


@pytest.mark.parametrize("name", ["m4a", "mp3", "flac", "wav"])
def test_stereo_of_any_recorder_is_read(name: str) -> None:
    assert loudest_hertz(read_audio(audio_file(name, layout="stereo", rate=48_000))) == pytest.approx(
        440, abs=2
    )


@pytest.mark.parametrize(
    "name",
    [
        "MediaRecorder of Chrome: webm with opus",
        "MediaRecorder of Safari: fragments of mp4 with aac",
        "mka with pcm",
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.71, 0.83, 0.97])
def test_a_recording_that_its_recorder_still_writes_is_read_as_far_as_it_goes(
    name: str, share: float
) -> None:
    whole = recording(name, seconds=8.0)
    samples = read_audio(whole[: int(len(whole) * share)])
    assert 8 * share - 1.5 < len(samples) / SAMPLE_RATE < 8
    assert loudest_hertz(samples) == pytest.approx(440, abs=2)


def test_an_ogg_that_has_no_end_yet_is_read_to_its_last_page() -> None:
    whole = recording("MediaRecorder of Firefox: ogg with opus", seconds=8.0)
    samples = read_audio(whole[: whole.rindex(b"OggS")])
    assert 6 < len(samples) / SAMPLE_RATE < 8


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_the_sound_of_a_film_is_read(container: str, codec: str) -> None:
    assert loudest_hertz(read_audio(film(container, codec))) == pytest.approx(440, abs=3)


def test_a_film_without_sound_is_402_and_says_so() -> None:
    refusal = refusal_of(film("mp4", "mpeg4", sound=None))
    assert refusal.status == Status.UNSUPPORTED_FORMAT
    assert str(refusal) == "there is no sound in the mp4 file"


def test_of_two_sounds_the_one_that_can_be_heard_is_taken() -> None:
    assert loudest_hertz(read_audio(film("matroska", "mpeg4", sound="ac3", second="aac"))) == pytest.approx(
        440, abs=3
    )


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [("wav", "ac3", "ac3"), ("matroska", "eac3", "eac3"), ("matroska", "tta", "tta"), ("mp4", "ac3", "ac3")],
)
def test_a_codec_that_is_not_taken_is_402_and_named_with_what_is_taken(
    container: str, codec: str, name: str
) -> None:
    options = {"strict": "experimental"}
    refusal = refusal_of(
        written(tone(1.0, 48_000)[np.newaxis].repeat(2, 0), container, codec, rate=48_000, options=options)
    )
    assert refusal.status == Status.UNSUPPORTED_FORMAT
    assert name in str(refusal)
    assert "webm" in str(refusal)


OTHERS = {
    b"%PDF-1.7\n": "a PDF",
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff\xe0": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b\x08": "gzip",
    b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n": "a playlist",
    b"ffconcat version 1.0\nfile /etc/hostname\n": "a list of files",
    b"<!DOCTYPE html>": "HTML or XML",
    b"<MPD>": "HTML or XML",
    b'{"audio": 1}': "JSON",
    b"MThd": "MIDI",
    b"RIFF\0\0\0\0AVI LIST": "RIFF 'AVI '",
    b"FLV\1": "Flash video",
    b"MAC \x96\x0f": "Monkey's Audio",
    b"TTA1": "True Audio",
    b"\x02#!SILK_V3": "SILK as WeChat has it",
    b"v=0\no=- 0 0 IN IP4": "bytes that begin with 76 3d 30",
    b"subfile,,start,0,end,9,,:/etc/hostname": "bytes that begin with 73 75 62 66",
}


@pytest.mark.parametrize("mark", OTHERS, ids=OTHERS.values())
def test_what_is_no_recording_is_402_and_called_what_it_looks_like_beside_what_is_taken(mark: bytes) -> None:
    refusal = refusal_of(mark + bytes(500))
    assert refusal.status == Status.UNSUPPORTED_FORMAT
    assert OTHERS[mark] in str(refusal)
    assert "wav" in str(refusal)
    assert len(str(refusal)) <= 500


def test_a_refusal_is_short_whatever_the_request_calls_its_audio() -> None:
    for name in ("nonsense\n" * 10_000, "\U0010ffff" * 50, "\0" * 50):
        assert len(str(refusal_of(b"%PDF", name))) <= 500


def test_only_decoders_for_sound_may_run() -> None:
    for name in CODECS:
        assert av.Codec(name, "r").type == "audio"


def film(container: str, codec: str, *, sound: str | None = "aac", second: str | None = None) -> bytes:
    """Two seconds of pictures, with a tone in each of its sounds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        pictures = output.add_stream(codec, rate=25)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sounds = [output.add_stream(each, rate=48_000, layout="stereo") for each in (sound, second) if each]
        for number in range(50):
            output.mux(pictures.encode(av.VideoFrame(64, 48, "yuv420p")))
            for stream in sounds:
                assert isinstance(stream, av.AudioStream)
                part = tone(2.0, 48_000)[number * 1_920 : (number + 1) * 1_920]
                frame = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 48_000, number * 1_920
                output.mux(stream.encode(frame))
        output.mux(pictures.encode(None))
        for stream in sounds:
            assert isinstance(stream, av.AudioStream)
            output.mux(stream.encode(None))
    return buffer.getvalue()
