"""What the page at `/` is told, and what it may load; `tests/page` has it in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rpcb_trio._gateway import _page
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import Front, front

ROUTES = {
    "asr": {
        "path": "/speech/asr",
        "summary": "Recognition",
        "exchange": "hidden",
        "routing_key": "secret-key",
        "shape": "envelope",
        "form": {"audio": "file", "format": {"default": "wav", "help": "Of the file"}},
    },
    "look": {"queue": "look", "form": {"picture": {"type": "file", "accept": "image/*"}}},
    "both": {"form": {"audio": "file"}, "parts": {"first": {"route": "asr"}}},
}
STATIC = Path(_page.__file__).parent / "static"


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
    for each in STATIC.iterdir():
        text = each.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//\w+\.\w", text), each


async def test_every_file_that_the_page_names_is_served() -> None:
    async with front() as gateway:
        page = await gateway.http.get("/")
        for path in re.findall(r'(?:src|href)="(/[^"#]*)"', page.text):
            assert (await gateway.http.get(path)).status_code == 200, path


async def test_a_browser_asks_whether_files_are_still_the_same_and_is_told_so_briefly() -> None:
    async with front() as gateway:
        first = await gateway.http.get("/static/page.js")
        assert first.headers["cache-control"] == "no-cache"
        again = await gateway.http.get("/static/page.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


async def test_the_page_is_told_of_each_route_and_its_form() -> None:
    async with front(ROUTES) as gateway:
        told = await described(gateway)
    routes = {each["name"]: each for each in told["routes"]}  # type: ignore[attr-defined] # as the page reads it
    assert routes["asr"] == {
        "name": "asr",
        "path": "/speech/asr",
        "method": "POST",
        "summary": "Recognition",
        "envelope": True,
        "fields": [
            {"name": "audio", "type": "file", "required": True, "accept": "audio/*"},
            {"name": "format", "type": "text", "default": "wav", "help": "Of the file"},
        ],
    }
    assert routes["look"]["fields"][0]["accept"] == "image/*"
    assert (told["rpc"], told["rpc_any"], told["live"]) == (["asr", "look"], False, False)


async def test_the_page_is_not_told_where_requests_go() -> None:
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
