"""The live panel, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, expect

from rpcb_models.simple import Accelerator, echo
from rpcb_trio.gateway import GatewayOptions
from tests.page.browser import PHONE, Chromium, keep
from tests.page.gateways import Fake, ancestor_routes, listening, recognised
from tests.page.legibility import complaints


@pytest.fixture(scope="module")
def live_gateway() -> Iterator[str]:
    routes = ancestor_routes()
    routes["slow"] = {"queue": "slow", "summary": "An accelerator"}
    services = {"asr": Fake(recognised, 0.03), "slow": Accelerator(0.05, 0.005)}
    with listening({"slow": routes["slow"], **routes}, services, live=True) as url:
        yield url


TWO_VIEWS = """() => new Promise((done) => {
  const source = new EventSource("events");
  let seen = 0;
  source.addEventListener("message", () => {
    seen += 1;
    if (seen < 2) return;
    source.close();
    done();
  });
})"""


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""

IS_FULL = """async () => {
  const answer = await fetch("events");
  await answer.body.cancel();
  return answer.status === 503;
}"""


def send_ten(page: Page) -> None:
    page.get_by_label("Body", exact=True).fill("x")
    page.get_by_role("button", name="Send 10 at once").click()
    expect(page.get_by_role("status").filter(has_text="10 answers")).to_be_visible()


def test_batches_are_shown_as_they_form(chromium: Chromium, live_gateway: str) -> None:
    def check(page: Page) -> None:
        panel = page.get_by_role("article", name="slow")
        expect(panel.locator(".workers li")).to_contain_text("consuming")
        expect(panel.get_by_role("img")).to_have_accessible_name("No batches yet")
        send_ten(page)
        bars = panel.locator(".bar[title]:not([title=''])")
        expect(bars.nth(1)).to_be_visible()
        expect(bars.last).to_have_attribute("title", re.compile(r"^\d requests?, closed by \w+; waited"))
        expect(panel.get_by_role("img")).to_have_accessible_name(re.compile(r"batches: of \d to \d requests"))
        rate = panel.locator("dl div").filter(has_text="Requests per second").locator("dd").first
        expect(rate).to_have_text(re.compile(r"^[1-9]"))
        expect(
            page.get_by_role("list", name="Why a batch was closed").get_by_role("listitem")
        ).not_to_have_count(0)
        panel.get_by_text("The batches as a table").click()
        expect(panel.get_by_role("row").nth(1)).to_be_visible()
        sizes: list[int] = []
        while sum(sizes) < 10:  # as the views come
            page.wait_for_timeout(50)
            sizes = [int(row.split()[0]) for row in panel.get_by_role("row").all_inner_texts()[1:]]
        assert sum(sizes) == 10
        assert len(sizes) < 10
        assert complaints(page) == []
        keep(page, "live")

    chromium.show(live_gateway, check)


def test_the_panel_can_be_paused(chromium: Chromium, live_gateway: str) -> None:
    def check(page: Page) -> None:
        panel = page.get_by_role("article", name="slow")
        expect(panel).to_be_visible()
        assert complaints(page) == []
        page.get_by_role("button", name="Pause").click()
        before = panel.inner_text()
        send_ten(page)
        page.evaluate(TWO_VIEWS)
        assert panel.inner_text() == before
        page.get_by_role("button", name="Resume").click()
        expect(panel).not_to_have_text(before, use_inner_text=True)

    chromium.show(live_gateway, check, size=PHONE)


def test_a_page_in_the_background_leaves_its_place_to_others(chromium: Chromium) -> None:
    def check(page: Page) -> None:
        expect(page.locator("#live-state")).to_have_text("Live")
        assert page.evaluate(IS_FULL)
        page.evaluate(HIDE, True)  # noqa: FBT003 - the script's argument
        while page.evaluate(IS_FULL):
            page.wait_for_timeout(20)
        with page.expect_request("**/events"):
            page.evaluate(HIDE, False)  # noqa: FBT003 - likewise

    with listening({}, {"echo": echo}, GatewayOptions(rpc=("echo",), max_streams=1), live=True) as url:
        chromium.show(url, check, refusals=("status of 503",))


def test_a_gateway_that_ends_is_said_to_be_away(chromium: Chromium) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(listening({}, {"echo": echo}, GatewayOptions(rpc=("echo",)), live=True))

        def check(page: Page) -> None:
            state = page.locator("#live-state")
            expect(state).to_have_text("Live")
            stack.close()
            expect(state).to_have_text("Not connected")

        chromium.show(url, check, refusals=("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"))
