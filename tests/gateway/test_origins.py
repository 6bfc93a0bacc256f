"""What pages may do that a browser shows: those of other origins, and those that a service answers with."""

from __future__ import annotations

from typing import Any

import pytest

from rpcb_models import simple
from rpcb_trio import Outcome, Reply, SettingError
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import REQUEST_ID, failure
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import answered_with, echo, front

OPEN = GatewayOptions(rpc=("echo",))


class Page(simple.Accelerator):
    """Answers with a page that has a script."""

    content_type = "text/html"

    def encode(self, outcome: Outcome[Any]) -> bytes:  # noqa: ARG002 - it is always the same
        return b"<script>alert(1)</script>"


async def test_other_origins_may_call_where_that_is_set_and_else_not() -> None:
    asked = {"origin": "https://example.org", "access-control-request-method": "POST"}
    async with front({}, GatewayOptions(cors=("https://example.org",), rpc=("echo",)), echo=echo) as gateway:
        allowed = await gateway.http.options("/rpc/echo", headers=asked)
        refused = await gateway.http.options("/rpc/echo", headers=asked | {"origin": "https://evil.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("path", "status"), [("/rpc/any", 200), ("/rpc/any?stream=maybe", 422), ("/nowhere", 404)]
)
async def test_a_page_of_another_origin_reads_every_header_that_it_is_sent(path: str, status: int) -> None:
    sent: dict[str, object] = {"rpcb-cache": "hit", "rpcb-batch": 7, "rpcb-Own": "of the service"}
    reply = Reply(body=b"hi", headers=sent)
    options = GatewayOptions(cors=("*",), rpc=("any",))
    async with answered_with(reply, options=options) as http:
        answer = await http.post(path, content=b"hi", headers={"origin": "https://example.org"})
    assert answer.status_code == status
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    of_cors = {"access-control-allow-origin", "access-control-expose-headers", "vary"}
    assert {*answer.headers} - {*exposed} == of_cors | {"content-type", "content-length"}
    assert "x-request-id" in exposed
    assert ("rpcb-own" in exposed) == (status == 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://gateway"}, 200),
        ({"origin": "http://gateway", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://speech.example", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://speech.example"}, 200),
        ({"origin": "https://example.org", "sec-fetch-site": "cross-site"}, 200),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://gateway:1", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_no_page_of_another_origin_sends_a_form(headers: dict[str, str], status: int) -> None:
    options = GatewayOptions(
        cors=("https://example.org",), rpc=("echo",), public_url="https://speech.example"
    )
    async with front({}, options, echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi", headers=headers)
    assert answer.status_code == status


async def test_any_page_sends_one_where_all_origins_may() -> None:
    async with front({}, GatewayOptions(cors=("*",), rpc=("echo",)), echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi", headers={"origin": "https://x.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("code", ["a\r\nset-cookie: b", "内", "x" * 300])
def test_an_error_s_code_from_a_service_makes_no_header_of_its_own(code: str) -> None:
    problem = Problem(500, code, "it failed")
    answer = failure(None, problem, {REQUEST_ID: "1"}, retry_after=1)
    assert answer.headers["rpcb-error"] == "?"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"cors": ("https://example.org/",)}, "cors"),
        ({"cors": ("example.org",)}, "cors"),
        ({"public_url": "speech.example"}, "public_url"),
    ],
)
def test_what_no_browser_would_take_is_a_wrong_setting(options: dict[str, Any], setting: str) -> None:
    with pytest.raises(SettingError, match=f"{setting} is"):
        GatewayOptions(**options)


async def test_a_page_that_a_service_answers_with_runs_no_script() -> None:
    async with front({}, OPEN, echo=Page(0, 0)) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi")
    assert answer.headers["content-type"] == "text/html"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
