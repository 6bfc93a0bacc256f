"""What the page at `/` is told, and what it may load; `tests/page` has it in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from rpcb_trio._gateway import _page
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, Front, front

ROUTES = {
    "asr": {
        "path": "/speech/asr",
        "summary": "Recognition",
        "exchange": "hidden",
        "routing_key": "secret-key",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": {"default": "wav", "help": "Of the file"}},
    },
    "look": {
        "queue": "look",
        "page": "rpcb_models.speech_page:speech.js",
        "form": {
            "picture": {
                "type": "file",
                "accept": "image/*",
                "sample": "rpcb_models.recordings:librivox-0880.wav",
            },
            "question": {"sample": "What is it?", "optional": True},
        },
    },
    "both": {"form": {"audio": "file"}, "parts": {"first": {"route": "asr"}}},
}
STATIC = Path(_page.__file__).parent / "static"
RECORDINGS = Path(__file__).parents[2] / "models" / "rpcb_models" / "recordings"


async def described(gateway: Front) -> dict[str, object]:
    told: dict[str, object] = (await gateway.http.get("/static/routes.json")).json()
    return told


async def test_the_page_may_load_from_its_own_origin_only_and_has_no_script_in_it() -> None:
    async with front() as gateway:
        page = await gateway.http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*", policy)
    assert page.headers["content-type"].startswith("text/html")
    assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text) == []


def test_no_file_of_the_page_names_another_origin() -> None:
    ours = Path(__file__).parents[2] / "models" / "rpcb_models" / "speech_page"
    for each in [*STATIC.iterdir(), *ours.glob("*.js"), *ours.glob("*.css")]:
        text = each.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//\w+\.\w", text), each


async def test_every_file_that_the_page_names_is_served() -> None:
    async with front() as gateway:
        page = await gateway.http.get("/")
        for path in re.findall(r'(?:src|href)="(/[^"#]*)"', page.text):
            assert (await gateway.http.get(path)).status_code == 200, path


async def test_a_browser_revalidates_the_page_s_files_and_gets_304() -> None:
    async with front() as gateway:
        first = await gateway.http.get("/static/page.js")
        assert first.headers["cache-control"] == "no-cache"
        again = await gateway.http.get("/static/page.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


async def test_the_page_gets_each_route_and_its_form() -> None:
    async with front(ROUTES) as gateway:
        told = await described(gateway)
    routes = {each["name"]: each for each in told["routes"]}  # type: ignore[attr-defined] # as the page reads it
    assert routes["asr"] == {
        "name": "asr",
        "path": "/speech/asr",
        "method": "POST",
        "summary": "Recognition",
        "envelope": "data",
        "fields": [
            {"name": "audio", "type": "file", "required": True},
            {
                "name": "format",
                "type": "text",
                "required": False,
                "default": "wav",
                "help": "Of the file",
            },
        ],
    }
    assert routes["look"]["fields"] == [
        {
            "name": "picture",
            "type": "file",
            "required": True,
            "accept": "image/*",
            "sample": "static/samples/0/librivox-0880.wav",
        },
        {"name": "question", "type": "text", "required": False, "sample": "What is it?"},
    ]
    assert routes["look"]["page"] == "static/pages/rpcb_models.speech_page/speech.js"
    assert (told["rpc"], told["rpc_any"], told["live"]) == (["asr", "look"], False, False)


async def test_the_page_does_not_get_where_requests_go() -> None:
    async with front(ROUTES, GatewayOptions(rpc=("private-*",))) as gateway:
        text = (await gateway.http.get("/static/routes.json")).text
        told = await described(gateway)
    assert not re.search("hidden|secret-key|private", text)
    assert told["rpc_any"]


@pytest.mark.parametrize("path", ["/static/../_page.py", "/static/%2e%2e/_page.py", "/static/nothing.js"])
async def test_nothing_else_is_served_beside_the_page(path: str) -> None:
    async with front() as gateway:
        assert (await gateway.http.get(path)).status_code == 404


async def test_the_page_of_a_mounted_gateway_finds_its_files() -> None:
    async with front() as gateway:
        scope = {"root_path": '/speech"'}
        transport = gateway.http._transport
        transport.root_path = scope["root_path"]  # type: ignore[attr-defined] # it is the ASGI transport
        page = await gateway.http.get('/speech"/')
    assert 'src="/speech&quot;/static/page.js"' in page.text


async def test_a_sample_is_served_as_it_is() -> None:
    async with front(ROUTES) as gateway:
        sample = await gateway.http.get("/static/samples/0/librivox-0880.wav")
        assert (await gateway.http.get("/static/samples/1/librivox-0880.wav")).status_code == 404
    assert sample.content == (RECORDINGS / "librivox-0880.wav").read_bytes()
    assert sample.headers["content-type"] == "audio/x-wav"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A route with a page module in a deployment's own package."""
    (tmp_path / "shop_of_ours").mkdir()
    for name in ("page.js", "page.css", "__init__.py", "secret.txt"):
        (tmp_path / "shop_of_ours" / name).write_text(f"/* {name} */")
    monkeypatch.syspath_prepend(tmp_path)
    return {"queue": "shop", "page": "shop_of_ours:page.js"}


async def test_a_page_module_is_served_with_the_web_files_beside_it_and_nothing_else(
    shop: dict[str, object],
) -> None:
    async with front({"shop": shop}) as gateway:

        async def got(name: str) -> httpx.Response:
            return await gateway.http.get(f"/static/pages/shop_of_ours/{name}")

        module, style = await got("page.js"), await got("page.css")
        others = [await got(name) for name in ("__init__.py", "secret.txt", "..%2fother.js", "")]
    assert (module.status_code, module.text) == (200, "/* page.js */")
    assert module.headers["content-type"].startswith("text/javascript")
    assert style.headers["content-type"].startswith("text/css")
    assert {each.status_code for each in others} == {404}


async def test_only_a_page_with_modules_may_ask_for_the_microphone(shop: dict[str, object]) -> None:
    policies = []
    for routes in ({}, {"shop": shop}):
        async with front(routes) as gateway:
            policies.append((await gateway.http.get("/")).headers["permissions-policy"])
    assert policies == ["camera=(), microphone=()", "camera=(self), microphone=(self)"]
