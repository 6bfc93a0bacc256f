"""Asking services on the page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.page.browser import PHONE, Chromium, keep
from tests.page.gateways import RECORDING

NOT_BLANK = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(pixels).size;
}"""


def choose(page: Page, service: str, file: Path | None = RECORDING) -> None:
    page.get_by_role("radio", name=service).check()
    if file is not None:
        page.locator("#field-audio").set_input_files(file)


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()


def test_a_recording_is_recognised(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        choose(page, "Speech recognition")
        assert page.get_by_label("Format").input_value() == "wav"
        send(page)
        expect(page.locator(".sentence")).to_have_text("95724 bytes of wav were heard.")
        expect(page.locator(".facts")).to_contain_text("in a batch of its own")

    chromium.show(gateway, check)


def test_enhanced_sound_is_heard_and_seen_beside_the_original(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        choose(page, "Speech enhancement")
        send(page)
        figures = page.locator("#answer figure")
        expect(figures).to_have_count(2)
        assert figures.locator("strong").all_inner_texts() == ["Original", "Enhanced"]
        for canvas in figures.locator("canvas").all():
            assert canvas.evaluate(NOT_BLANK) > 100
            assert "0 to 8 kHz over 3.0 s" in (canvas.get_attribute("aria-label") or "")
        for sound in figures.locator("audio").all():
            assert sound.evaluate("async sound => { await sound.play(); return sound.duration }") > 2.9
        paused = [sound.evaluate("sound => sound.paused") for sound in figures.locator("audio").all()]
        assert paused == [True, False]

    chromium.show(gateway, check)


def test_several_services_are_asked_at_once_and_each_answer_has_its_name(
    chromium: Chromium, gateway: str
) -> None:
    def check(page: Page) -> None:
        choose(page, "Enhancement, and recognition")
        send(page)
        expect(page.locator("#answer .part h3")).to_have_text(
            ["As recorded", "Enhanced", "After enhancement"]
        )
        expect(page.locator("#answer .sentence")).to_have_count(2)
        expect(page.locator("#answer canvas")).to_have_count(2)

    chromium.show(gateway, check)


def test_what_the_microphone_hears_is_sent_as_wav(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        choose(page, "Speech enhancement", None)
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("button", name=re.compile(r"Stop \([1-9]"))).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("recording.wav")).to_be_visible()
        send(page)
        expect(page.locator("#answer canvas")).to_have_count(2)
        assert page.locator("#answer canvas").first.evaluate(NOT_BLANK) > 50

    chromium.show(gateway, check)


def test_a_form_of_any_kind_is_filled_in_and_checked_before_it_is_sent(
    chromium: Chromium, gateway: str
) -> None:
    def check(page: Page) -> None:
        choose(page, "Order tea", None)
        cups = page.get_by_label("Cups")
        send(page)
        assert cups.evaluate("cups => cups.validity.valueMissing && cups === document.activeElement")
        cups.fill("2")
        page.get_by_label("Sort").select_option("black")
        page.get_by_label("milk").check()
        send(page)
        expect(page.locator("#answer dd")).to_have_text(["black", "2", "true"])

    chromium.show(gateway, check)


def test_any_queue_that_the_gateway_may_reach_takes_bytes(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        choose(page, "Bytes in, bytes out", None)
        page.get_by_label("Name", exact=True).fill("echo")
        page.get_by_label("Body", exact=True).fill("<b>hello</b>")
        send(page)
        expect(page.locator("#answer pre")).to_have_text("<b>hello</b>")

    chromium.show(gateway, check)


def test_errors_are_explained_in_plain_words(chromium: Chromium, gateway: str) -> None:
    def fails(page: Page, service: str, field: str, text: str) -> Locator:
        choose(page, service, None)
        page.get_by_label(field, exact=True).fill(text)
        send(page)
        return page.get_by_role("alert")

    def check(page: Page) -> None:
        problem = fails(page, "Always fails", "Text", "x")
        expect(problem).to_contain_text("The service failed")
        expect(problem).not_to_contain_text("Traceback")
        keep(page, "problem")
        expect(fails(page, "Nobody there", "Count", "3")).to_contain_text("Start a worker for it")
        expect(fails(page, "Bytes in", "Name", "asr2")).to_contain_text("There is no service asr2")

    chromium.show(gateway, check, refusals=("status of 500", "status of 502", "status of 404"), size=PHONE)


def test_a_file_that_is_too_large_is_explained_in_plain_words(
    chromium: Chromium, gateway: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(500_000))

    def check(page: Page) -> None:
        choose(page, "Enhancement, and recognition", large)
        send(page)
        expect(page.get_by_role("alert")).to_contain_text("The file is too large")
        page.locator("#field-audio").set_input_files(RECORDING)
        send(page)
        expect(page.locator("#answer canvas")).to_have_count(2)
        expect(page.get_by_role("alert")).to_have_text("")

    chromium.show(gateway, check, refusals=("status of 413",))


def test_the_page_is_used_by_keyboard_alone(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        press = page.keyboard.press
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        press("Enter")
        press("Tab")
        press("ArrowUp")  # from the first service round to the last
        press("Tab")
        page.keyboard.type("echo")
        press("Tab")
        page.keyboard.type("by keyboard")
        for _ in range(2):  # over the file
            press("Tab")
        assert page.evaluate("document.activeElement.id") == "send"
        press("Enter")
        expect(page.locator("#answer pre")).to_have_text("by keyboard")

    chromium.show(gateway, check)


def test_a_request_can_be_cancelled(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        page.route("**/rpc/*", lambda _: None)  # it hangs
        choose(page, "Bytes in, bytes out", None)
        page.get_by_label("Name", exact=True).fill("echo")
        send(page)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("status").filter(has_text="Cancelled.")).to_be_visible()
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()

    chromium.show(gateway, check)
