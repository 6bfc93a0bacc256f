"""What fails is shown as a failure, whatever the shape of the route's answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from rpcb_trio import Failure, Outcome, RequestError
from tests.page.browser import Chromium
from tests.page.gateways import RECORDING, listening

FORM: dict[str, Any] = {"audio": "file"}
PAGE = "rpcb_models.speech_page:speech.js"
ROUTES: dict[str, Any] = {
    "asr": {"queue": "asr", "page": PAGE, "envelope": "rpcb_models.envelope:RECOGNITION", "form": FORM},
    "both": {"page": PAGE, "form": FORM, "parts": {"first": {"route": "asr"}, "second": {"route": "other"}}},
    "other": {"queue": "other", "form": FORM},
}


class Recogniser:
    """Hears nothing but WAV, and says so as the ancestor's do: in a field of its reply."""

    def decode(self, body: bytes) -> bytes:
        audio: bytes = msgspec.msgpack.decode(body)["audio"]
        if not audio.startswith(b"RIFF"):
            raise RequestError("it is no recording")
        return audio

    def infer(self, items: list[bytes]) -> list[str]:
        return [f"{len(item)} bytes" for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        if isinstance(outcome, Failure):
            return msgspec.msgpack.encode({"sentence": "", "other": 402})
        return msgspec.msgpack.encode({"sentence": outcome.value, "other": 200})


@pytest.fixture(scope="module")
def recogniser() -> Iterator[str]:
    """A gateway in front of it, and of a service that hears everything."""
    services = {
        "asr": Recogniser(),
        "other": lambda bodies: [msgspec.msgpack.encode({"sentence": "x"})] * len(bodies),
    }
    with listening(ROUTES, services) as url:
        yield url


def send(page: Page, service: str, content: bytes | None) -> None:
    page.get_by_role("radio", name=service).check()
    file: Any = (
        RECORDING if content is None else {"name": "a.txt", "mimeType": "text/plain", "buffer": content}
    )
    page.locator("#field-audio").set_input_files(file)
    page.get_by_role("button", name="Send", exact=True).click()


def test_a_failure_in_an_envelope_is_an_alert_and_no_answer_without_words(
    chromium: Chromium, recogniser: str
) -> None:
    def check(page: Page) -> None:
        send(page, "asr", b"a text")
        expect(page.get_by_role("alert")).to_contain_text("The service could not use this request")
        expect(page.locator("main")).not_to_contain_text("No words were recognised")
        send(page, "asr", None)
        expect(page.locator(".sentence")).to_contain_text("bytes")
        expect(page.get_by_role("alert")).to_have_text("")

    chromium.show(recogniser, check, refusals=("status of 400",))


def test_a_part_that_fails_is_a_problem_in_its_place(chromium: Chromium, recogniser: str) -> None:
    def check(page: Page) -> None:
        send(page, "both", b"a text")
        expect(page.locator("#answer .part .problem")).to_have_count(1)
        expect(page.locator("#answer .sentence")).to_have_text("x")
        expect(page.locator("main")).not_to_contain_text("No words were recognised")

    chromium.show(recogniser, check)
