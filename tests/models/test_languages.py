"""One worker hears several languages, each by its own recogniser; a request says which it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_models.asr import Moonshine, QuartzNet, SpeechRecognition
from rpcb_models.asr.languages import language_of
from rpcb_models.asr.service import Recording
from rpcb_models.audio import SAMPLE_RATE, Samples
from rpcb_models.se.wav import wav_bytes
from rpcb_models.wire import Recognition, RefusedRequest
from rpcb_trio import SettingError
from rpcb_trio.errors import RequestError
from rpcb_trio.testing import push_batch

SMALL = str(Path(__file__).parents[2] / "models" / "rpcb_models" / "asr" / "quartznet_prompts.nemo")


class Knows:
    """A recogniser of one language, which tells it and how much it was given at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.batches: list[int] = []

    def load(self) -> None: ...

    def transcribe(self, clips: list[Samples]) -> list[str]:
        self.batches.append(len(clips))
        return [f"{self._name} {len(clip) / SAMPLE_RATE:g}" for clip in clips]


def request(seconds: float, language: object = msgspec.UNSET) -> bytes:
    audio = wav_bytes(np.full(round(seconds * SAMPLE_RATE), 0.5, np.float32))
    named = {} if language is msgspec.UNSET else {"language": language}
    return msgspec.msgpack.encode({"audio": audio, "format": "wav", **named})


async def answers(service: SpeechRecognition, bodies: list[bytes]) -> list[tuple[str, int, object]]:
    replies = await push_batch(service, bodies)
    read = [msgspec.msgpack.decode(reply.body, type=Recognition) for reply in replies]
    return [
        (each.sentence, each.other, reply.headers.get("rpcb-error-reason"))
        for each, reply in zip(read, replies, strict=True)
    ]


async def test_each_request_of_a_batch_is_heard_by_the_recogniser_of_its_language() -> None:
    english, chinese = Knows("en"), Knows("zh")
    service = SpeechRecognition({"en": english, "zh-CN": chinese}, speech_only=False)
    asked = ["zh", msgspec.UNSET, "en-GB", "ZH_cn", "", None, " en ", "fr", 7]
    told = await answers(service, [request(1 + place / 4, each) for place, each in enumerate(asked)])
    assert [sentence for sentence, *_ in told] == [
        *("zh 1", "en 1.25", "en 1.5", "zh 1.75", "en 2", "en 2.25", "en 2.5", "", ""),
    ]
    assert [status for _, status, _ in told] == [200] * 7 + [402] * 2
    assert [reason for *_, reason in told[-2:]] == [
        "the language is 'fr'; served here: en, zh-cn",
        "the language is of type int; served here: en, zh-cn",
    ]
    assert (english.batches, chinese.batches) == ([5], [2])


async def test_a_recogniser_that_tells_no_language_takes_every_request_as_ever() -> None:
    told = await answers(
        SpeechRecognition(Knows("any"), speech_only=False), [request(1), request(1, "fr"), request(1, 7)]
    )
    assert told == [("any 1", 200, None)] * 3


async def test_one_recogniser_of_a_named_language_refuses_another() -> None:
    named = SpeechRecognition(Knows("zh"), languages="zh", speech_only=False)
    for service, served in ((named, "zh"), (SpeechRecognition("moonshine", speech_only=False), "en")):
        with pytest.raises(RequestError, match=f"the language is 'fr'; served here: {served}$"):
            service.decode(request(1, "fr"))
        decoded = service.decode(request(1, served))
        assert isinstance(decoded, Recording)
        assert decoded.language == served


def test_one_line_of_configuration_names_several_recognisers() -> None:
    service = SpeechRecognition(languages=f"en=moonshine, zh={SMALL}", threads=2)
    assert list(service.recognisers) == ["en", "zh"]
    assert isinstance(service.recogniser, Moonshine)
    assert isinstance(service.recognisers["zh"], QuartzNet)
    placed = service.on_device("cuda:0").recognisers
    assert [type(each) for each in placed.values()] == [Moonshine, QuartzNet]
    assert all(placed[each] is not service.recognisers[each] for each in placed)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"languages": "english!"}, "no language's code; give one as en or zh-CN"),
        ({"languages": "en=moonshine,en=moonshine"}, "languages names en twice"),
        ({"languages": "en=moonshine,zh"}, "languages has 'zh'; give a language and its recogniser"),
        ({"languages": "en=whisper"}, "languages has 'en=whisper'"),
        ({"languages": f"zh={SMALL}", "recogniser": "quartznet"}, "leave recogniser out"),
        ({"languages": f"zh={SMALL}", "lm": "words.arpa"}, "lm is set, but languages names several"),
        ({"languages": "en", "recogniser": {"en": Knows("en")}}, "a map with the languages already"),
        ({"recogniser": {}}, "empty map"),
        ({"recogniser": {"en": Knows("en")}, "device": "cpu"}, "device is set, but recogniser is a map"),
    ],
)
def test_languages_that_make_no_sense_are_refused_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        SpeechRecognition(**options)
    assert "\n" not in str(caught.value)


TAGS = ("en", "zh-cn", "zh-tw", "de", "gsw-ch")


@given(st.one_of(st.text(max_size=60), st.sampled_from(TAGS), st.integers(), st.binary(max_size=9)))
def test_any_language_is_one_of_those_served_or_refused_in_a_line(asked: object) -> None:
    found = served_for(asked)
    if found not in TAGS:
        assert found.startswith("402: the language is ")
        assert len(found) < 120
        assert "\n" not in found
    assert asked not in TAGS or found == asked


def served_for(asked: object) -> str:
    try:
        return language_of(asked, TAGS)
    except RefusedRequest as refused:
        return f"{refused.status:d}: {refused}"


def test_a_batch_of_recordings_of_one_language_costs_the_other_recogniser_nothing() -> None:
    english, chinese = Knows("en"), Knows("zh")
    service = SpeechRecognition({"en": english, "zh": chinese}, speech_only=False)
    assert service.infer([Recording([], with_times=False, language="zh")])[0].said == []
    assert (english.batches, chinese.batches) == ([], [])
