"""The page knows no service: it shows whatever one answers, and offers what its deployment offers."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from rpcb_trio import Outcome, Success
from rpcb_trio.gateway import GatewayOptions
from tests.page.browser import Chromium
from tests.page.gateways import RECORDING, ROOT, listening

LAPTOP = (1280, 800)
DESKTOP = (1920, 1080)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    whole = kind + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


PIXELS = b"".join(b"\0" + bytes((x, y, 128)) * 40 for y in range(40) for x in (6 * y,))
PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(PIXELS))
    + chunk(b"IEND", b"")
)

ROUTES: dict[str, Any] = {
    "say": {
        "queue": "echo",
        "body": "bytes",
        "reply": "json",
        "form": {"text": {"sample": '"a sample of text"'}},
    },
    "draw": {"queue": "draw", "body": "bytes", "reply": "bytes", "form": {"text": {}}},
}


class Draw:
    """Answers every text with a picture."""

    content_type = "image/png"

    def decode(self, body: bytes) -> bytes:
        return body

    def infer(self, items: list[bytes]) -> list[bytes]:
        return [PNG] * len(items)

    def encode(self, outcome: Outcome[bytes]) -> bytes:
        return outcome.value if isinstance(outcome, Success) else b""


@pytest.fixture(scope="module")
def parrot() -> Iterator[str]:
    """A gateway whose services answer what they are told to, or a picture."""
    with listening(ROUTES, {"echo": lambda bodies: bodies, "draw": Draw()}) as url:
        yield url


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()


def said(page: Page, answer: object) -> Locator:
    """What the page shows of an answer."""
    page.locator("#answer").evaluate("answer => answer.replaceChildren()")  # that of the last time
    page.get_by_role("radio", name="say").check()
    page.get_by_label("Text").fill(json.dumps(answer))
    send(page)
    expect(page.locator(".facts")).to_contain_text("Answered in")
    return page.locator("#answer")


def test_a_list_of_objects_is_a_table(chromium: Chromium, parrot: str) -> None:
    found = [{"label": "cat", "score": 0.93}, {"label": "dog", "score": 0.07, "why": None}]

    def check(page: Page) -> None:
        table = said(page, found).get_by_role("table")
        expect(table.get_by_role("columnheader")).to_have_text(["Label", "Score", "Why"])
        expect(table.get_by_role("row").nth(2).get_by_role("cell")).to_have_text(["dog", "0.07", "null"])
        inner = said(page, {"found": found, "model": "m1"})
        expect(inner.get_by_role("heading")).to_have_text("Found")
        expect(inner.get_by_role("row")).to_have_count(3)
        expect(inner.locator("dd")).to_have_text("m1")
        expect(said(page, [[1, 2], [3, 4]]).get_by_role("row")).to_have_count(2)
        expect(said(page, [{"n": 1}] * 1000)).to_contain_text("1000 rows in all")

    chromium.show(parrot, check)


def test_any_json_is_laid_out_and_can_be_seen_as_it_is(chromium: Chromium, parrot: str) -> None:
    def check(page: Page) -> None:
        expect(said(page, 0.25).locator(".sentence")).to_have_text("0.25")
        expect(said(page, "a text").locator(".sentence")).to_have_text("a text")
        expect(said(page, "two\nlines").locator("pre")).to_have_text("two\nlines")
        expect(said(page, {"scores": [0.1, 0.5]}).locator("dd")).to_have_text("0.1, 0.5")
        answer = said(page, {"a": {"b": {"c": {"d": {"e": [1, "x"]}}}}, "list": []})
        expect(answer).to_contain_text("An empty list.")
        answer.get_by_text("As JSON").click()
        shown = answer.locator(".json pre").inner_text()
        assert json.loads(shown) == {"a": {"b": {"c": {"d": {"e": [1, "x"]}}}}, "list": []}

    chromium.show(parrot, check)


def test_a_picture_is_seen_by_its_content_type(chromium: Chromium, parrot: str) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="draw").check()
        page.get_by_label("Text").fill("a cat")
        send(page)
        picture = page.get_by_role("img", name="The answer")
        expect(picture).to_be_visible()
        assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 40

    chromium.show(parrot, check)


def test_a_sample_that_the_deployment_offers_can_be_tried(
    chromium: Chromium, parrot: str, gateway: str
) -> None:
    def of_text(page: Page) -> None:
        page.get_by_role("button", name="Try a sample").click()
        send(page)
        expect(page.locator("#answer .sentence")).to_have_text("a sample of text")

    def of_a_file(page: Page) -> None:
        page.get_by_role("button", name="Try a sample").click()
        expect(page.locator(".chosen")).to_contain_text("librivox-0870.wav")
        send(page)
        expect(page.locator("#answer .sentence")).to_have_text("227244 bytes of wav were heard.")

    chromium.show(parrot, of_text)
    chromium.show(gateway, of_a_file)


def test_after_sending_the_answer_is_in_view(chromium: Chromium, gateway: str) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="Enhancement, and recognition").check()
        page.locator("#field-audio").set_input_files(RECORDING)
        send(page)
        expect(page.locator("#answer canvas")).to_have_count(2)
        expect(page.locator("#answer .sentence").first).to_be_in_viewport(ratio=1)
        page.get_by_role("radio", name="Always fails").check()
        page.get_by_label("Text", exact=True).fill("x")
        page.set_viewport_size({"width": 360, "height": 740})
        send(page)
        expect(page.get_by_role("alert").get_by_role("heading")).to_be_in_viewport(ratio=1)

    chromium.show(gateway, check, size=LAPTOP, refusals=("status of 500",))


def test_the_batches_are_beside_the_form_on_a_large_screen_and_a_link_leads_there_on_others(
    chromium: Chromium, gateway: str
) -> None:
    def beside(page: Page) -> None:
        expect(page.get_by_role("heading", name="Batches, live")).to_be_in_viewport(ratio=1)
        form, live = page.locator("#ask").bounding_box(), page.locator("#live").bounding_box()
        assert form is not None
        assert live is not None
        assert live["x"] > form["x"] + form["width"]

    def below(page: Page) -> None:
        expect(page.get_by_role("heading", name="Batches, live")).not_to_be_in_viewport()
        page.get_by_role("link", name="Batches").click()
        expect(page.get_by_role("heading", name="Batches, live")).to_be_in_viewport(ratio=1)

    chromium.show(gateway, beside, size=DESKTOP)
    chromium.show(gateway, below, size=LAPTOP)


def test_the_page_names_no_broker_which_may_be_none(chromium: Chromium, gateway: str) -> None:
    chromium.show(gateway, lambda page: expect(page.locator("main")).not_to_contain_text("RabbitMQ"))


def test_the_size_of_a_request_s_own_batch_is_shown_or_why_it_is_not(
    chromium: Chromium, gateway: str
) -> None:
    def ask(page: Page) -> Locator:
        page.get_by_role("radio", name="Bytes in").check()
        page.get_by_label("Name", exact=True).fill("echo")
        page.get_by_label("Body", exact=True).fill("x")
        send(page)
        return page.locator(".facts")

    def known(page: Page) -> None:
        expect(ask(page)).to_contain_text("in a batch of its own")
        page.get_by_role("radio", name="Enhancement, and recognition").check()
        page.locator("#field-audio").set_input_files(RECORDING)
        send(page)
        expect(page.locator(".facts")).to_contain_text(
            re.compile(r"batches of \d \(As recorded\), \d \(Enhanced\), \d \(After enhancement\)")
        )

    def unknown(page: Page) -> None:
        expect(ask(page)).to_contain_text("--batch-headers")

    chromium.show(gateway, known)
    services = {"echo": lambda bodies: bodies}
    with listening({}, services, GatewayOptions(rpc=("echo",)), batch_headers=False) as url:
        chromium.show(url, unknown)


def test_a_request_can_be_copied_as_a_command_that_sends_the_same(
    chromium: Chromium, gateway: str, tmp_path: Path
) -> None:
    odd = tmp_path / 'it\'s a "recording".wav'
    odd.write_bytes(RECORDING.read_bytes())

    def commands(page: Page) -> list[str]:
        page.get_by_role("radio", name="Enhancement, and recognition").check()
        page.locator("#field-audio").set_input_files(odd)
        page.get_by_role("button", name="Copy as curl").click()
        found = [page.locator("#command").inner_text()]
        page.get_by_role("radio", name="Bytes in").check()
        page.get_by_label("Name", exact=True).fill("echo")
        page.get_by_label("Body", exact=True).fill("it's $HOME\n&c.")
        page.get_by_role("button", name="Copy as curl").click()
        return [*found, page.locator("#command").inner_text()]

    form, body = chromium.show(gateway, commands)

    def run(command: str) -> str:
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert json.loads(run(form))["plain"]["sentence"] == "95724 bytes of wav were heard."
    assert run(body) == "it's $HOME\n&c."


def documented_module() -> str:
    """The page module that docs/how-to/gateway.md has as an example."""
    page = (ROOT / "docs" / "how-to" / "gateway.md").read_text()
    [found] = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    return str(found)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway with the documented module, and one module of each way to fail."""
    (tmp_path / "shop_web").mkdir()
    modules = {
        "shop.js": documented_module(),
        "syntax.js": "export function mount( {",
        "raises.js": "export function mount() { throw new Error('at mount'); }",
        "later.js": "export function mount(_, result) { result.show = () => { throw new Error('later'); }; }",
    }
    form = {"photo": {"type": "file", "optional": True}, "price": {"type": "integer", "default": 5}}
    route = {"queue": "echo", "constants": {"currency": "EUR"}, "form": form}
    for name, text in modules.items():
        (tmp_path / "shop_web" / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    routes = {name.partition(".")[0]: route | {"page": f"shop_web:{name}"} for name in modules}
    with listening(routes, {"echo": lambda bodies: bodies}) as url:
        yield url


def test_a_page_module_as_the_documents_show_it_extends_the_form_and_the_answer(
    chromium: Chromium, shop: str
) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name="shop").check()
        page.get_by_role("button", name="Camera").click()
        expect(page.get_by_role("alert")).to_contain_text("No camera here.")
        send(page)
        expect(page.locator("#answer .sentence")).to_have_text("€ 5")

    chromium.show(shop, check, refusals=("SyntaxError", "at mount"))


@pytest.mark.parametrize("name", ["syntax", "raises", "later"])
def test_a_page_module_that_fails_leaves_the_page_as_it_is_without_it(
    chromium: Chromium, shop: str, name: str
) -> None:
    def check(page: Page) -> None:
        page.get_by_role("radio", name=name).check()
        send(page)
        expect(page.locator("#answer dd")).to_have_text(["5", "EUR"])
        expect(page.get_by_role("alert")).to_have_text("")

    chromium.show(shop, check, refusals=("SyntaxError", "at mount", "later"))
