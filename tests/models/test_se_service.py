"""Speech enhancement as a service: whatever comes in, what goes out is `{status, message, data}`."""

from __future__ import annotations

import io
import subprocess
import sys
import tomllib
import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rpcb_models.audio import SAMPLE_RATE, Samples, read_audio
from rpcb_models.recordings import recordings
from rpcb_models.se import Demucs, Dtln, SpeechEnhancement, named_enhancer, service
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wire import AudioRequest, Enhancement, RefusedRequest, Status
from rpcb_trio import Failure, Service, SettingError, Success
from rpcb_trio.errors import Expired, InferError
from rpcb_trio.testing import push_batch
from tests.models.sounds import audio_file, tone

ROOT = Path(__file__).parents[2]
WAV = wav_bytes(np.array([0.5, -0.25], np.float32))
GOLDEN_REPLY = (
    b"\x83\xa6status\xcc\xc8\xa7message\xa6\xe6\x88\x90\xe5\x8a\x9f\xa4data"
    b"\x82\xa7enhance\xc4\x30" + WAV + b"\xa8duration\xa40.00"
)
GOLDEN_FAILURE = (
    b"\x83\xa6status\xcd\x01\x92\xa7message\xb5\xe9\x9f\xb3\xe9\xa2\x91\xe6\xa0\xbc\xe5\xbc\x8f"
    b"\xe4\xb8\x8d\xe6\x94\xaf\xe6\x8c\x81\xa4data\xc0"
)


class Halver:
    """An enhancer that makes everything half as loud."""

    loaded = 0
    batches: tuple[int, ...] = ()

    def load(self) -> None:
        self.loaded += 1

    def enhance(self, clips: list[Samples]) -> list[Samples]:
        self.batches += (len(clips),)
        return [clip * np.float32(0.5) for clip in clips]


def request(audio: bytes, name: str | None = "wav") -> bytes:
    return msgspec.msgpack.encode(AudioRequest(audio, name))


def read(body: bytes) -> Enhancement:
    return msgspec.msgpack.decode(body, type=Enhancement)


def heard(body: bytes) -> Samples:
    data = read(body).data
    assert data is not None
    return read_audio(data.enhance)


def test_the_service_is_what_the_worker_takes() -> None:
    assert isinstance(service, Service)
    assert service.content_type == "application/octet-stream"


def test_a_reply_is_the_map_java_reads_and_nothing_more() -> None:
    assert service.encode(Success(np.array([0.5, -0.25], np.float32))) == GOLDEN_REPLY


def test_a_failure_has_the_same_keys_its_message_and_no_data() -> None:
    refused = Failure(RefusedRequest(Status.UNSUPPORTED_FORMAT, "no"))
    assert service.encode(refused) == GOLDEN_FAILURE


@pytest.mark.parametrize(("error", "status"), [(Expired("late"), 404), (InferError("broken"), 409)])
def test_every_failure_keeps_the_shape(error: Expired | InferError, status: int) -> None:
    assert read(service.encode(Failure(error))) == Enhancement(status, Status(status).message, None)


def test_the_sound_in_a_reply_is_wav_pcm16_16_khz_mono_and_clipped() -> None:
    with wave.open(io.BytesIO(wav_bytes(np.array([0.5, 2, -2], np.float32)))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [2**14, 2**15 - 1, -(2**15)]


def test_the_duration_is_seconds_with_two_decimals() -> None:
    reply = read(service.encode(Success(tone(1.239, SAMPLE_RATE))))
    assert reply.data is not None
    assert reply.data.duration == "1.24"


def test_warming_up_loads_the_model_and_runs_it_once() -> None:
    enhancer = Halver()
    SpeechEnhancement(enhancer).warm_up()
    assert (enhancer.loaded, enhancer.batches) == (1, (1,))


def test_a_clips_cost_is_its_seconds() -> None:
    assert service.cost(service.decode(request(audio_file("wav", seconds=1.5)))) == pytest.approx(1.5)


def test_a_clip_beyond_the_services_own_limits_is_refused() -> None:
    with pytest.raises(RefusedRequest):
        SpeechEnhancement(Halver(), max_seconds=1.0).decode(request(audio_file("wav", seconds=1.1)))
    with pytest.raises(RefusedRequest):
        SpeechEnhancement(Halver(), max_bytes=1000).decode(request(audio_file("wav")))


@pytest.mark.parametrize(("dry", "gain"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_dry_is_the_share_of_the_original(dry: float, gain: float) -> None:
    clip = tone(0.1, SAMPLE_RATE)
    [mixed] = SpeechEnhancement(Halver(), dry=dry).infer([clip])
    assert isinstance(mixed, np.ndarray)
    np.testing.assert_allclose(mixed, gain * clip, rtol=1e-6)


@pytest.mark.parametrize("dry", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(dry: float) -> None:
    with pytest.raises(SettingError, match="dry is"):
        SpeechEnhancement(dry=dry)


def test_the_model_is_chosen_by_its_name() -> None:
    assert isinstance(SpeechEnhancement("dtln").enhancer, Dtln)
    assert isinstance(SpeechEnhancement("demucs").enhancer, Demucs)
    with pytest.raises(SettingError, match="model is dtnl; give dtln or demucs"):
        SpeechEnhancement("dtnl")
    with pytest.raises(SettingError, match="set model to demucs"):
        named_enhancer("dtln", "dns48.th")


def test_a_replica_has_a_model_of_its_own_on_its_own_device() -> None:
    replica = service.on_device("cuda:99")
    assert replica.enhancer is not service.enhancer
    with pytest.raises(SettingError, match="device is cuda:99"):
        replica.warm_up()


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
    replies = await push_batch(SpeechEnhancement(Halver()), bodies)
    assert [read(reply.body).status for reply in replies] == [200, 407, 408, 402, 408, 403, 200]
    assert [read(reply.body).data is None for reply in replies] == [False, *[True] * 5, False]
    assert len(heard(replies[-1].body)) == 2 * SAMPLE_RATE


async def test_a_clip_that_comes_out_as_no_sound_is_409_and_its_batch_mates_notice_nothing() -> None:
    class Breaks(Halver):
        def enhance(self, clips: list[Samples]) -> list[Samples]:
            return [clip * np.nan if len(clip) < SAMPLE_RATE else clip for clip in clips]

    bodies = [request(audio_file("wav", seconds=seconds)) for seconds in (1.0, 0.5, 2.0)]
    replies = await push_batch(SpeechEnhancement(Breaks()), bodies)
    assert [read(reply.body).status for reply in replies] == [200, 409, 200]


@pytest.mark.parametrize("model", ["dtln", "demucs"])
async def test_real_speech_comes_back_as_long_as_it_was_whatever_its_batch(model: str) -> None:
    bodies = [request(clip.path.read_bytes()) for clip in recordings()[:4]]
    se = SpeechEnhancement(model)
    together = await push_batch(se, bodies)
    for reply, body in zip(together, bodies, strict=True):
        [alone] = await push_batch(se, [body])
        np.testing.assert_allclose(heard(reply.body), heard(alone.body), atol=1 / 2**15)
        assert len(heard(reply.body)) == len(se.decode(body))


def test_the_default_topology_is_the_ancestors() -> None:
    settings = tomllib.loads((ROOT / "models" / "rpcb_models" / "se" / "se-base.toml").read_text("utf-8"))
    assert settings["target"] == "rpcb_models.se:SpeechEnhancement"
    wanted = {"queue": "seBase", "exchange": "seExchange", "exchange_type": "topic", "routing_key": ["rpc"]}
    assert settings.items() >= wanted.items()


def test_the_deployments_file_is_one_the_worker_serves_by() -> None:
    nobody = "amqp://127.0.0.1:1"
    command = [
        sys.executable,
        "-m",
        "rpcb_trio",
        "serve",
        "--config",
        "models/rpcb_models/se/se-base.toml",
        "--url",
        nobody,
    ]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert "serving rpcb_models.se:SpeechEnhancement from queue seBase" in done.stderr
    assert done.returncode == 5  # the broker is not there; a wrong setting would be 2


def test_importing_the_service_loads_no_model() -> None:
    code = "import sys, rpcb_models.se; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
