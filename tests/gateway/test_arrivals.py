"""By which names the gateway may be reached, and whom it believes about the scheme."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rpcb_trio import SettingError
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import echo, front, one_by_one

ROUTES: dict[str, Any] = {
    "echo": {"queue": "echo"},
    "sound": {"queue": "sound", "form": {"sound": "file"}, "urls": {"sound": "url"}},
}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8083", 421),
        ("speech.example.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("speech.example", 200),
        ("SPEECH.example.:443", 200),
        ("a.inner.example", 200),
        ("public.example", 200),
        ("localhost:8083", 200),
        ("x.localhost", 200),
        ("gateway", 200),
        ("127.0.0.1:8083", 200),
        ("[::1]:8083", 200),
    ],
)
@pytest.mark.parametrize("path", ["/livez", "/static/routes.json", "/events", "/"])
async def test_a_name_that_is_none_of_the_gateway_s_is_refused_on_every_path(
    host: str, status: int, path: str
) -> None:
    options = GatewayOptions(
        allowed_host=("speech.example", "*.inner.example"), public_url="https://public.example/x"
    )
    async with front(ROUTES, options) as gateway:
        answer = await gateway.http.get(path, headers={"host": host})
    assert (answer.status_code == 421) == (status == 421)
    if status == 421:
        assert "--allowed-host" in answer.json()["detail"]


async def test_without_a_list_every_name_may_be_used() -> None:
    async with front(ROUTES) as gateway:
        assert (await gateway.http.get("/livez", headers={"host": "any.example"})).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "told", "scheme"),
    [
        ((), "https", "http"),
        (("10.0.0.0/8",), "https", "http"),
        (("127.0.0.1",), "https", "https"),
        (("127.0.0.0/8",), "http, https", "https"),
        (("*",), "HTTPS", "https"),
        (("*",), "ftp", "http"),
        (("*",), "https\x00", "http"),
        (("*",), "", "http"),
    ],
)
async def test_only_a_proxy_that_is_trusted_says_by_which_scheme_a_client_came(
    proxies: tuple[str, ...], told: str, scheme: str
) -> None:
    sound = one_by_one(lambda body: {"sound": body["sound"]})
    async with front(ROUTES, GatewayOptions(trusted_proxy=proxies), sound=sound) as gateway:
        answer = await gateway.http.post(
            "/sound", files={"sound": b"RIFF"}, headers={"x-forwarded-proto": told}
        )
    assert answer.json()["url"].startswith(f"{scheme}://gateway/files/")


def test_a_proxy_is_known_by_its_address_whichever_way_the_system_writes_it() -> None:
    options = GatewayOptions(trusted_proxy=("10.0.0.0/8", "fd00::/8"))
    assert [options.trusts_proxy(each) for each in ("10.1.1.1", "::ffff:10.1.1.1", "fd00::1")] == [True] * 3
    assert [options.trusts_proxy(each) for each in ("11.1.1.1", "::1", "", "x")] == [False] * 4


@pytest.mark.parametrize("path", ["/docs/", "/livez/", "/readyz/"])
async def test_the_gateway_s_own_paths_answer_with_a_slash_at_their_end_too(path: str) -> None:
    async with front(ROUTES) as gateway:
        assert (await gateway.http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/echo/", "/docs/", "/livez/", "/static", "/nothing/"])
async def test_nobody_is_sent_elsewhere(path: str) -> None:
    async with front(ROUTES, echo=echo) as gateway:
        answer: httpx.Response = await gateway.http.post(path, content=b"x")
        assert not answer.is_redirect
        assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"allowed_host": ("https://x.example",)}, "allowed_host"),
        ({"allowed_host": ("x.example:80",)}, "allowed_host"),
        ({"trusted_proxy": ("proxy.example",)}, "trusted_proxy"),
        ({"trusted_proxy": ("10.0.0.0/99",)}, "trusted_proxy"),
    ],
)
def test_a_host_or_a_proxy_that_can_t_be_one_is_a_wrong_setting(
    options: dict[str, Any], setting: str
) -> None:
    with pytest.raises(SettingError, match=f"{setting} has"):
        GatewayOptions(**options)


@pytest.mark.parametrize("tenant", ["", "x tenant", "x-tenant:"], ids=["empty", "space", "colon"])
def test_a_tenant_that_no_http_header_can_name_is_refused(tenant: str) -> None:
    with pytest.raises(SettingError, match=r"^tenant is '.*'; name an HTTP header, as x-tenant, or set it"):
        GatewayOptions(tenant=tenant)
