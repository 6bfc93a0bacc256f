"""All of it: the commands on a real RabbitMQ, and the real models, under the page."""

from __future__ import annotations

import re
import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio
from playwright.sync_api import Page, expect

from rpcb_models.asr import SpeechRecognition
from rpcb_models.audio import SAMPLE_RATE, read_audio
from rpcb_models.noise import mixed
from rpcb_models.se import SpeechEnhancement
from tests.cli.processes import command
from tests.page import browser
from tests.page.browser import Chromium, keep
from tests.page.gateways import ROOT, ancestor_routes, listening
from tests.rabbitmq import Broker

TARGET = ["rpcb_models.simple:Accelerator", "--option", "a=0.05", "--option", "c=0.005"]
SNR = 8.0
SPEECH = ROOT / "models" / "rpcb_models" / "recordings" / "librivox-0870.wav"


async def test_the_page_shows_the_batches_of_workers_on_rabbitmq(
    chromium: Chromium, broker: Broker, queue: str, tmp_path: Path
) -> None:
    exchange = broker.fresh_name("events")
    shared = ["--url", broker.url, "--events", exchange]

    def check(page: Page) -> None:
        panel = page.get_by_role("article", name=queue)
        expect(panel.locator(".workers li")).to_contain_text("consuming")
        page.get_by_label("Name", exact=True).fill(queue)
        page.get_by_label("Body", exact=True).fill("x")
        page.get_by_role("button", name="Send 10 at once").click()
        expect(page.get_by_role("status").filter(has_text="10 answers")).to_be_visible()
        expect(panel.get_by_role("img")).to_have_accessible_name(re.compile(r"batches: of \d to \d requests"))
        expect(panel.locator("dl div").filter(has_text="Requests waiting").locator("dd").nth(1)).to_have_text(
            "0 in the queue, 0 in workers"
        )

    async with (
        command("serve", *TARGET, "--queue", queue, *shared, cwd=ROOT) as worker,
        command("gateway", "--rpc", queue, "--port", "0", *shared, cwd=tmp_path) as gateway,
    ):
        await worker.line_with("consuming")
        line = await gateway.line_with("http://127.0.0.1:")
        url = line.split("gateway: ")[1].split(",")[0] + "/"
        await trio.to_thread.run_sync(partial(chromium.show, url, check))


def noisy(folder: Path) -> Path:
    """A file of speech under noise."""
    clean = read_audio(SPEECH.read_bytes())
    noise = np.random.default_rng(0).normal(size=len(clean)).astype(np.float32)
    file = folder / "noisy.wav"
    with wave.open(str(file), "wb") as opened:
        opened.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        opened.writeframes((32767 * np.clip(mixed(clean, noise, SNR), -1, 1)).astype("<i2").tobytes())
    return file


def test_real_speech_is_cleaned_and_recognised(chromium: Chromium, tmp_path: Path) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="Enhancement, and recognition").check()
        page.locator("#field-audio").set_input_files(noisy(tmp_path))
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator("#answer .sentence").first).to_contain_text("Dashwood")
        expect(page.locator("#answer canvas")).to_have_count(2)
        expect(page.get_by_role("article")).to_have_count(2)
        keep(page, "real-models")
        page.get_by_role("radio", name="Speech recognition").check()
        page.locator("#field-audio").set_input_files(SPEECH)
        page.get_by_label("Timestamps").set_checked(True)
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator("#answer .timed time").first).to_have_text("0:00")
        expect(page.locator("#answer .timed")).to_contain_text("Dashwood")
        keep(page, "timestamps")

    services = {"asr": SpeechRecognition(), "se": SpeechEnhancement()}
    with listening(ancestor_routes(), services, live=True) as url:
        chromium.show(url, check)


def test_the_api_s_own_page_asks_a_service(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        page.goto(f"{gateway}docs")
        page.get_by_text("/rpc/{name}").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_placeholder("name").fill("echo")
        page.locator("input[type=file]").set_input_files(SPEECH)
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")

    chromium.show(gateway, check)


def test_without_chromium_the_failure_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPCB_TEST_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"), browser.chromium():
        pass
