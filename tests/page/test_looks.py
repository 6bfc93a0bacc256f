"""The page for every eye and every screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser import PHONE, WIDE, Chromium, keep
from tests.page.gateways import RECORDING
from tests.page.legibility import complaints


@pytest.mark.parametrize(("size", "name"), [(WIDE, "wide"), (PHONE, "phone")])
def test_the_page_is_good_to_read_in_light_and_dark_on_a_screen_and_a_phone(
    chromium: Chromium, gateway: str, *, size: tuple[int, int], name: str
) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="Enhancement, and recognition").check()
        page.locator("#field-audio").set_input_files(RECORDING)
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator("#answer canvas")).to_have_count(2)
        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert complaints(page) == []
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            keep(page, f"{name}-{scheme}")
        assert len(grounds) == 2

    chromium.show(gateway, check, size=size)


def test_the_page_says_what_it_is_and_how_to_turn_on_what_is_off(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        assert page.title() == "rpcb-trio gateway"
        assert page.locator("h1").count() == 1
        for landmark in ("header", "main", "footer", "nav[aria-label]"):
            expect(page.locator(landmark)).to_have_count(1)
        expect(page.get_by_role("status").filter(has_text="Ready")).to_be_visible()
        expect(page.locator("#live")).to_contain_text("rpcb-trio gateway … --events rpcb.events")

    chromium.show(gateway, check)
