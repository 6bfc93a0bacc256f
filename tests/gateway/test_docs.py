"""`/docs` and `/openapi.json`: what there is to call, shown without anything from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, Front, echo, front

ROUTES: dict[str, Any] = {
    "asr": {
        "queue": "echo",
        "summary": "What is said",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": {"default": "wav", "choices": ["wav", "mp3"], "help": "Of it."}},
    },
    "raw": {"queue": "echo", "path": "/v1/raw", "method": "PUT"},
    "all": {"form": {"audio": "file"}, "parts": {"one": {"route": "asr"}}},
}


class Links(HTMLParser):
    """What a page loads or leads to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value for name, value in attrs if value and name in ("src", "href", "data-url", "action")
        ]


async def pages(gateway: Front) -> list[str]:
    """The paths of all pages that are served."""
    served = []
    for path in ("/", "/docs"):
        answer = await gateway.http.get(path)
        if answer.headers["content-type"].startswith("text/html"):
            served.append(path)
    return served


async def test_no_page_loads_anything_from_another_host_and_all_that_it_loads_is_there() -> None:
    async with front(ROUTES, echo=echo) as gateway:
        found = await pages(gateway)
        assert "/docs" in found
        for path in found:
            answer = await gateway.http.get(path)
            assert not re.search(r"[*]|https?:|//", answer.headers["content-security-policy"])
            for link in Links(answer.text).found:
                assert urlsplit(urljoin("http://gateway/", link)).netloc == "gateway", link
                assert (await gateway.http.get(urljoin(path, link))).status_code == 200, link


async def test_the_style_sheet_and_our_own_script_name_no_other_host() -> None:
    async with front(ROUTES, echo=echo) as gateway:
        style = (await gateway.http.get("/docs/swagger-ui.css")).text
        script = (await gateway.http.get("/static/docs.js")).text
    assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//", style)
    assert "@import" not in style
    assert "//" not in script
    assert "validatorUrl: null" in script


@pytest.mark.parametrize(
    "path", ["index.html", "oauth2-redirect.html", "..%2f__init__.py", "swagger-editor.js"]
)
async def test_nothing_else_of_swagger_ui_s_package_is_served(path: str) -> None:
    async with front(ROUTES, echo=echo) as gateway:
        assert (await gateway.http.get(f"/docs/{path}")).status_code == 404


async def test_the_document_has_each_route_with_its_form_and_nothing_of_the_gateway_s_own() -> None:
    async with front(ROUTES, echo=echo) as gateway:
        document = (await gateway.http.get("/openapi.json")).json()
    assert list(document["paths"]) == ["/asr", "/v1/raw", "/all", "/rpc/{name}"]
    form = document["paths"]["/asr"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["audio"]
    assert form["properties"]["format"] == {
        "type": "string",
        "enum": ["wav", "mp3"],
        "default": "wav",
        "description": "Of it.",
    }
    assert document["paths"]["/asr"]["post"]["summary"] == "What is said"
    assert "put" in document["paths"]["/v1/raw"]


async def test_the_document_tells_of_answers_in_parts_where_a_client_may_ask_for_them() -> None:
    async with front(ROUTES, echo=echo) as gateway:
        paths = (await gateway.http.get("/openapi.json")).json()["paths"]
        told = {
            path: (
                "text/event-stream" in operation["responses"]["200"]["content"],
                any(each["name"] == "stream" for each in operation.get("parameters", [])),
            )
            for path, [operation] in ((path, methods.values()) for path, methods in paths.items())
        }
    assert told == {**dict.fromkeys(paths, (True, True)), "/all": (False, False)}


async def test_the_document_has_all_statuses_that_services_name_and_files_where_there_are_any() -> None:
    status = {"field": "status", "http": {"418": 418, "423": 423}}
    routes = {
        "one": {
            **ROUTES["asr"],
            "path": "/one",
            "envelope": "",
            "status": status,
            "urls": {"sound": "url"},
        },
        "all": {**ROUTES["all"], "parts": {"x": {"route": "one"}}},
    }
    async with front(routes, echo=echo) as gateway:
        paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    assert {"418", "423", "502"} < set(paths["/one"]["post"]["responses"])
    assert {"418", "423", "502"} < set(paths["/all"]["post"]["responses"])
    assert set(paths["/files/{name}"]["get"]["responses"]) == {"200", "404"}


async def test_rpc_is_in_the_document_with_the_names_that_it_reaches_or_not_at_all() -> None:
    for options, names in ((GatewayOptions(), ["asr", "raw"]), (GatewayOptions(rpc=("x-*",)), None)):
        async with front(ROUTES, options, echo=echo) as gateway:
            document = (await gateway.http.get("/openapi.json")).json()
        schema = document["paths"]["/rpc/{name}"]["post"]["parameters"][0]["schema"]
        assert schema.get("enum") == names
    async with front({"all": ROUTES["all"], "asr": ROUTES["asr"]}, echo=echo) as gateway:
        assert "/rpc/{name}" in (await gateway.http.get("/openapi.json")).json()["paths"]
