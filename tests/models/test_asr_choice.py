"""One line of configuration decides which recogniser answers the producers."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcb_models.asr import Moonshine, QuartzNet, SpeechRecognition
from rpcb_models.audio import Samples
from rpcb_models.recordings import recordings
from rpcb_models.wire import AudioRequest, Recognition
from rpcb_trio import SettingError
from rpcb_trio.testing import push_batch

ASR = Path(__file__).parents[2] / "models" / "rpcb_models" / "asr"
SMALL = str(ASR / "quartznet_prompts.nemo")


class Deaf:
    def load(self) -> None: ...

    def transcribe(self, clips: list[Samples]) -> list[str]:
        return [""] * len(clips)


def test_a_name_and_plain_options_choose_the_recogniser() -> None:
    assert isinstance(SpeechRecognition().recogniser, Moonshine)
    assert isinstance(SpeechRecognition("moonshine", threads=2).recogniser, Moonshine)
    assert isinstance(SpeechRecognition("quartznet", checkpoint=SMALL, device="cpu").recogniser, QuartzNet)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"recogniser": "whisper"}, "moonshine or quartznet"),
        ({"recogniser": "quartznet"}, "checkpoint"),
        ({"checkpoint": SMALL}, "checkpoint is for quartznet, but recogniser is moonshine"),
        ({"lm": "words.arpa"}, "lm is for quartznet"),
        ({"alone": True, "recogniser": "quartznet", "checkpoint": SMALL}, "alone is for moonshine"),
        ({"device": "cuda", "recogniser": Deaf()}, "device"),
        ({"recogniser": "quartznet", "checkpoint": ""}, "needs a checkpoint"),
        ({"threads": 0}, "threads"),
        ({"recogniser": "quartznet", "checkpoint": SMALL, "beam_width": 8}, "no lm"),
        ({"recogniser": "quartznet", "checkpoint": SMALL, "features": "2"}, "features"),
        ({"recogniser": Deaf(), "checkpoint": SMALL}, "checkpoint"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match=named) as caught:
        SpeechRecognition(**options)
    assert "\n" not in str(caught.value)


async def test_quartznet_answers_the_producers() -> None:
    clips = recordings()[:3]
    bodies = [msgspec.msgpack.encode(AudioRequest(clip.path.read_bytes(), "wav")) for clip in clips]
    replies = await push_batch(SpeechRecognition("quartznet", checkpoint=SMALL), bodies)
    answers = [msgspec.msgpack.decode(reply.body, type=Recognition) for reply in replies]
    assert [answer.other for answer in answers] == [200] * 3
    assert answers[0].sentence.endswith("pnd")


def test_each_device_has_a_recogniser_of_its_own_where_it_cares() -> None:
    service = SpeechRecognition("quartznet", checkpoint=SMALL, max_bytes=1000)
    placed = service.on_device("cuda:1")
    assert isinstance(placed.recogniser, QuartzNet)
    assert placed.recogniser is not service.recogniser
    with pytest.raises(Exception, match="1000 are allowed"):
        placed.decode(msgspec.msgpack.encode(AudioRequest(bytes(1001), "wav")))
    deaf = SpeechRecognition(Deaf())
    assert deaf.on_device("cpu") is deaf
    with pytest.raises(SettingError, match="runs on the cpu"):
        deaf.on_device("cuda:0")


def test_the_chinese_deployment_is_the_producers_own_and_names_its_checkpoint() -> None:
    settings = tomllib.loads((ASR / "cc1.toml").read_text("utf-8"))
    assert settings["target"] == "rpcb_models.asr:SpeechRecognition"
    assert (settings["exchange"], settings["queue"], settings["routing_key"]) == (
        "asrExchange",
        "cc1",
        ["rpc"],
    )
    options = dict(option.split("=") for option in settings["option"])
    with pytest.raises(SettingError, match=r"QuartzNet15x5Base-Zh\.nemo"):
        SpeechRecognition(**options).warm_up()


def test_an_empty_option_takes_away_what_a_file_says() -> None:
    assert isinstance(SpeechRecognition("moonshine", checkpoint="", lm="").recogniser, Moonshine)
