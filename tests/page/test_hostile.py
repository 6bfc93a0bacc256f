"""Answers and files that are made to break the page, or are only very large."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.page.browser import Chromium
from tests.page.gateways import listening

MARKUP = "<img src=x onerror='document.title = `run`'><script>document.title = `run`</script>"
ROUTES = {
    "say": {"queue": "echo", "body": "bytes", "reply": "json", "form": {"text": "text"}},
    "hear": {"queue": "echo", "body": "bytes", "reply": "bytes", "form": {"audio": "file"}},
}


@pytest.fixture(scope="module")
def parrot() -> Iterator[str]:
    """A gateway whose service answers what it is told to."""
    with listening(ROUTES, {"echo": lambda bodies: bodies}) as url:
        yield url


def said(page: Page, answer: object) -> Locator:
    """What the page shows of an answer."""
    page.locator("#answer").evaluate("answer => answer.replaceChildren()")  # that of the last time
    page.get_by_role("radio", name="say").check()
    page.get_by_label("Text").fill(json.dumps(answer))
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".facts")).to_contain_text("Answered in")
    return page.locator("#answer")


def test_markup_in_an_answer_is_shown_as_what_it_is(chromium: Chromium, parrot: str) -> None:
    answers = [
        MARKUP,
        [MARKUP],
        {"sentence": MARKUP, MARKUP: MARKUP},
        {MARKUP: {"problem": {"title": MARKUP, "detail": MARKUP}}},
    ]

    def check(page: Page) -> None:
        for answer in answers:
            shown = said(page, answer)
            expect(shown).to_contain_text("<script>")
            assert shown.locator("img, script").count() == 0
        assert page.title() == "rpcb-trio gateway"

    chromium.show(parrot, check)


def test_a_file_s_name_is_shown_as_what_it_is(chromium: Chromium, parrot: str) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="hear").check()
        file: FilePayload = {"name": f"{MARKUP}.wav", "mimeType": "audio/wav", "buffer": b"none"}
        page.locator("#field-audio").set_input_files(file)
        expect(page.locator(".chosen")).to_contain_text("<img")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator("#answer pre")).to_have_text("none")
        assert page.locator("main img, main script").count() == 0

    chromium.show(parrot, check)


def test_an_odd_answer_is_shown_as_well_as_can_be(chromium: Chromium, parrot: str) -> None:
    odd: list[tuple[object, str]] = [
        ({"a": {"problem": {"title": 5, "detail": [7]}}}, "[7]."),
        ({"a": {"problem": "yes"}}, "yes"),
        ({"sound": "QUJD" * 1000}, "QUJD"),
        ("QUJD" * 1000, "QUJD"),
        ({"__proto__": {"x": 1}}, "1"),
        (None, "null"),
        ({}, "Answered in"),
    ]

    def check(page: Page) -> None:
        for answer, text in odd:
            expect(said(page, answer)).to_contain_text(text)
            expect(page.get_by_role("alert")).to_have_text("")

    chromium.show(parrot, check)


def test_of_a_very_long_answer_the_beginning_is_shown_and_how_long_it_is(
    chromium: Chromium, parrot: str
) -> None:
    words = "word " * 25_000

    def check(page: Page) -> None:
        for answer in (words, {"sentence": words}, {"other": words}, [words]):
            expect(said(page, answer)).to_contain_text("characters in all)")

    chromium.show(parrot, check)
