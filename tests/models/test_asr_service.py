"""Speech recognition as a service: whatever comes in, what goes out is `{sentence, other}`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from trio.testing import MockClock

from rpcb_models.asr import SpeechRecognition, service
from rpcb_models.asr.hearing import PART, Said
from rpcb_models.asr.segments import Segment
from rpcb_models.asr.service import Recording, Transcript
from rpcb_models.audio import SAMPLE_RATE, Samples, _reading, read_audio
from rpcb_models.audio._decoder import Decoder
from rpcb_models.audio_service import AudioService
from rpcb_models.recordings import recordings
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wer import word_error_rate
from rpcb_models.wire import AudioRequest, Recognition, RefusedRequest, Status
from rpcb_trio import Failure, Pieces, Service, Success
from rpcb_trio.errors import Expired, InferError, OutOfMemory
from rpcb_trio.testing import push_batch, served
from tests.models.noises import noise, room
from tests.models.sounds import audio_file, tone, written

ROOT = Path(__file__).parents[2]
ONE_SAMPLE = np.full(1, 0.5, np.float32)


class Lengths:
    """A recogniser that hears how long a clip is."""

    loaded = 0

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """Of each batch."""

    def load(self) -> None:
        self.loaded += 1

    def transcribe(self, clips: list[Samples]) -> list[str]:
        self.seconds.append(sum(map(len, clips)) / SAMPLE_RATE)
        return [f"{len(clip) / SAMPLE_RATE:.1f}" for clip in clips]


def request(audio: bytes, name: str | None = "wav") -> bytes:
    return msgspec.msgpack.encode(AudioRequest(audio, name))


def read(body: bytes) -> tuple[str, int]:
    reply = msgspec.msgpack.decode(body, type=Recognition)
    return reply.sentence, reply.other


def test_the_service_is_what_the_worker_takes() -> None:
    assert isinstance(service, Service)
    assert service.content_type == "application/octet-stream"


def test_warming_up_loads_the_recogniser() -> None:
    recogniser = Lengths()
    SpeechRecognition(recogniser).warm_up()
    assert recogniser.loaded == 1


def test_a_clips_cost_is_its_seconds() -> None:
    asr = SpeechRecognition(Lengths(), speech_only=False)
    clip = asr.decode(request(audio_file("wav", seconds=1.5, rate=48_000)))
    assert isinstance(clip, Recording)
    assert asr.cost(clip) == pytest.approx(1.5)


def test_a_clip_beyond_the_services_own_limits_is_refused() -> None:
    with pytest.raises(RefusedRequest):
        SpeechRecognition(Lengths(), max_seconds=1.0).decode(request(audio_file("wav", seconds=1.1)))
    with pytest.raises(RefusedRequest):
        SpeechRecognition(Lengths(), max_bytes=1000).decode(request(audio_file("wav")))


def test_a_result_is_encoded_with_status_200() -> None:
    said = [Said(0.0, 1.5, "hello"), Said(4.0, 5.0, "world")]
    assert read(service.encode(Success(Transcript(said, with_times=False)))) == ("hello world", 200)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedRequest(Status.UNSUPPORTED_FORMAT, "no"), 402),
        (Expired("late"), 404),
        (InferError("broken"), 409),
    ],
)
def test_a_failure_keeps_the_shape_and_says_nothing_in_the_sentence(
    error: RefusedRequest | Expired | InferError, status: int
) -> None:
    assert read(service.encode(Failure(error))) == ("", status)


async def test_what_cannot_be_heard_is_told_so_and_its_batch_mates_notice_nothing() -> None:
    bodies = [
        request(audio_file("mp3", seconds=1.0), "mp3"),
        b"no msgpack",
        b"",
        request(b"%PDF-1.7", "pdf"),
        request(audio_file("wav", hertz=0.0)),
        request(audio_file("flac")[:3000], "wav"),
        request(audio_file("g722", seconds=2.0), "g722"),
    ]
    replies = await push_batch(SpeechRecognition(Lengths(), speech_only=False), bodies)
    assert [read(reply.body) for reply in replies] == [
        ("1.0", 200),
        ("", 407),
        ("", 408),
        ("", 402),
        ("", 408),
        ("", 403),
        ("2.0", 200),
    ]


async def test_a_clip_the_recogniser_fails_at_is_409_and_its_batch_mates_notice_nothing() -> None:
    class FailsAtShort(Lengths):
        def transcribe(self, clips: list[Samples]) -> list[str]:
            if any(len(clip) < SAMPLE_RATE for clip in clips):
                raise RuntimeError("too short for this model")
            return super().transcribe(clips)

    bodies = [request(audio_file("wav", seconds=seconds)) for seconds in (1.0, 0.5, 2.0)]
    replies = await push_batch(SpeechRecognition(FailsAtShort(), speech_only=False), bodies)
    assert [read(reply.body) for reply in replies] == [("1.0", 200), ("", 409), ("2.0", 200)]


async def test_real_speech_is_recognised_from_message_to_message() -> None:
    clips = [clip for clip in recordings() if clip.name.startswith("librivox")]
    replies = await push_batch(service, [request(clip.path.read_bytes()) for clip in clips])
    answers = [read(reply.body) for reply in replies]
    assert {status for _, status in answers} == {200}
    assert word_error_rate([clip.text for clip in clips], [sentence for sentence, _ in answers]) <= 0.06


async def test_a_room_without_a_voice_and_a_single_sample_have_an_empty_sentence() -> None:
    bodies = [
        request(wav_bytes(clip)) for clip in (room(4.0), noise("click", dbfs=-6, seconds=1), ONE_SAMPLE)
    ]
    replies = await push_batch(service, bodies)
    assert [read(reply.body) for reply in replies] == [("", 200)] * 3


def test_what_goes_to_a_process_and_comes_back_is_the_speech_alone() -> None:
    clip = np.concatenate((read_audio(recordings()[1].path.read_bytes()), room(20.0)))
    asr = SpeechRecognition(Lengths())
    packed = pickle.dumps(asr.decode(request(wav_bytes(clip))))
    assert len(packed) < 4 * 32_000
    (transcript,) = pickle.loads(pickle.dumps(asr.infer([pickle.loads(packed)])))  # noqa: S301 (its own)
    assert transcript.said[0].text == f"{transcript.said[0].end - transcript.said[0].start:.1f}"


def test_long_recordings_are_no_batch_of_hours_and_the_worker_divides_them() -> None:
    asr = SpeechRecognition(Lengths(), speech_only=False)
    long = Recording([Segment(0, np.zeros(1000 * SAMPLE_RATE, np.int16))], with_times=False)
    assert len(asr.infer([long] * 3)) == 3
    with pytest.raises(OutOfMemory, match="4000 s of speech"):
        asr.infer([long] * 4)
    whole_hours = Recording([*long.segments] * 4, with_times=False)
    assert len(asr.infer([whole_hours])) == 1


async def test_who_asks_for_timestamps_gets_segments_and_nobody_else_an_extra_key() -> None:
    audio = recordings()[1].path.read_bytes()
    bodies = [request(audio), msgspec.msgpack.encode(AudioRequest(audio, "wav", timestamps=True))]
    plain, timed = (msgspec.msgpack.decode(reply.body) for reply in await push_batch(service, bodies))
    assert list(plain) == ["sentence", "other"]
    assert list(timed) == ["sentence", "other", "segments"]
    (segment,) = timed["segments"]
    assert segment["text"] == timed["sentence"] == plain["sentence"]
    assert 0 <= segment["start"] < segment["end"] <= 3


@pytest.mark.parametrize(
    ("asked", "given"), [("true", True), (1, True), ("no", False), (None, False), ([], False)]
)
def test_what_is_no_wish_for_timestamps_is_ignored(*, asked: object, given: bool) -> None:
    body = msgspec.msgpack.encode({"audio": audio_file("wav"), "format": "wav", "timestamps": asked})
    clip = SpeechRecognition(Lengths(), speech_only=False).decode(body)
    assert isinstance(clip, Recording)
    assert clip.with_times == given


async def test_who_asks_for_timestamps_in_a_room_without_a_voice_gets_no_segments() -> None:
    body = msgspec.msgpack.encode(AudioRequest(wav_bytes(room(2.0)), "wav", timestamps=True))
    (reply,) = await push_batch(service, [body])
    assert msgspec.msgpack.decode(reply.body) == {"sentence": "", "other": 200, "segments": []}


async def test_a_recording_beyond_two_minutes_is_recognised_beside_a_short_one() -> None:
    clips = [read_audio(clip.path.read_bytes()) for clip in recordings()]
    long = np.concatenate([part for clip in clips for part in (clip, room(0.8))])
    assert len(long) > 120 * SAMPLE_RATE
    bodies = [request(wav_bytes(clip)) for clip in (long, clips[1])]
    answers = [read(reply.body) for reply in await push_batch(service, bodies)]
    assert [status for _, status in answers] == [200, 200]
    assert word_error_rate([" ".join(clip.text for clip in recordings())], [answers[0][0]]) <= 0.08
    assert answers[1][0] == "All circuits are busy now."


def minutes(count: float) -> Samples:
    """Of a voice that counts nothing: a tone with a pause every ten seconds."""
    clip = np.resize(
        np.append(tone(9.5, SAMPLE_RATE), np.zeros(SAMPLE_RATE // 2)), round(count * 60 * SAMPLE_RATE)
    )
    return clip.astype(np.float32)


async def test_a_long_recording_is_heard_part_by_part_without_gap_or_overlap() -> None:
    clip = minutes(3.5)
    body = msgspec.msgpack.encode(AudioRequest(wav_bytes(clip), "wav", timestamps=True))
    recogniser = Lengths()
    (reply,) = await push_batch(SpeechRecognition(recogniser, speech_only=False), [body])
    segments = msgspec.msgpack.decode(reply.body, type=Recognition).segments
    assert segments is not None
    assert (segments[0].start, segments[-1].end) == (0.0, 210.0)
    assert all(one.end == pytest.approx(other.start, abs=0.002) for one, other in pairwise(segments))
    assert max(recogniser.seconds) <= PART
    assert sum(recogniser.seconds) == pytest.approx(210)


async def test_who_takes_the_reply_in_parts_gets_a_transcript_for_each_segment_however_long_it_is(
    autojump_clock: MockClock,
) -> None:
    asr = SpeechRecognition(Lengths(), speech_only=False)
    body = msgspec.msgpack.encode(AudioRequest(wav_bytes(minutes(1.5)), "wav", timestamps=True))
    async with served(asr) as worker:
        parts = [msgspec.msgpack.decode(part.body, type=Recognition) async for part in worker.stream(body)]
        whole = msgspec.msgpack.decode((await worker.call(body)).body, type=Recognition)
    segments = [segment for part in parts for segment in part.segments or ()]
    assert len(parts) == len(segments) > 5
    assert (whole.segments, whole.sentence) == (segments, " ".join(part.sentence for part in parts))


async def test_real_speech_is_recognised_in_parts_too(autojump_clock: MockClock) -> None:
    clips = [clip for clip in recordings() if clip.text == "All circuits are busy now."]
    async with served(service) as worker:
        for body in (request(clips[0].path.read_bytes()), request(wav_bytes(room(0.8)))):
            parts = [read(part.body) async for part in worker.stream(body)]
            assert parts == [read((await worker.call(body)).body)]


def test_no_more_of_a_long_recording_is_decoded_than_two_parts_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    asr = SpeechRecognition(Lengths(), speech_only=False)
    blocks, taken = AudioService.blocks, list[int]()

    def counted(self: AudioService, audio: AudioRequest) -> Iterator[Samples]:
        for block in blocks(self, audio):
            taken.append(len(block))
            yield block

    monkeypatch.setattr(AudioService, "blocks", counted)
    pieces = asr.decode(request(wav_bytes(minutes(5.0))))
    assert isinstance(pieces, Pieces)
    for number, _ in enumerate(pieces.items, start=1):
        assert sum(taken) <= (max(number, 2) + 1) * PART * SAMPLE_RATE
    assert sum(taken) == 300 * SAMPLE_RATE


@pytest.mark.parametrize("end", ["refused", "failed", "closed"])
async def test_a_long_recording_that_is_not_heard_to_its_end_leaves_no_decoder_at_work(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders: list[Decoder] = []
    idle: list[Decoder] = []
    monkeypatch.setattr(_reading, "_idle", idle)

    def start() -> Decoder:
        decoders.append(Decoder())
        return decoders[-1]

    monkeypatch.setattr(_reading, "Decoder", start)

    class FailsLate(Lengths):
        def transcribe(self, clips: list[Samples]) -> list[str]:
            if end == "failed" and self.seconds:
                raise RuntimeError("no more")
            return super().transcribe(clips)

    body = written(minutes(3.0)[np.newaxis], "flac", "flac", rate=SAMPLE_RATE)
    recogniser = FailsLate()
    asr = SpeechRecognition(recogniser, speech_only=False)
    if end == "closed":
        pieces = asr.decode(request(body))
        assert isinstance(pieces, Pieces)
        next(iter(pieces.items))
        pieces.items.close()  # type: ignore[attr-defined] # it is a generator
    else:
        (reply,) = await push_batch(asr, [request(body[: len(body) * 3 // 4] if end == "refused" else body)])
        assert read(reply.body) == ("", 403 if end == "refused" else 409)
        assert recogniser.seconds  # its first part was heard
    (decoder,) = decoders
    assert decoder.is_alive == (decoder in idle) == (end == "refused")
    decoder.end()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the request's body is empty"),
        (b"no msgpack", "not an audio request"),
        (request(b"%PDF-1.7", "pdf"), "'pdf'"),
        (request(audio_file("wav", seconds=2.0)), "longer than the 1 s allowed"),
    ],
)
def test_why_a_request_is_refused_is_said_in_words(body: bytes, reason: str) -> None:
    with pytest.raises(RefusedRequest) as caught:
        SpeechRecognition(Lengths(), max_seconds=1.0).decode(body)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_the_service_loads_no_model() -> None:
    code = "import sys, rpcb_models.asr; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
