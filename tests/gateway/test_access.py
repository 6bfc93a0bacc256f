"""Who may call what: keys and tokens, how they are shown, and how many requests they are good for."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import jwt
import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket
from trio.testing import MockClock

from rpcb_trio import SettingError
from rpcb_trio._gateway import _tokens, hash_of, lines_of_keys, new_key, read_keys
from rpcb_trio._gateway._credentials import Credential, credential_in
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._rates import MOST_CALLERS, Rate, Rates
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from tests.gateway.fronts import echo, front, told
from tests.scenarios import steady

KEY, OTHER = "rpcb_" + "k" * 43, "rpcb_" + "o" * 43
KEYS = (f"mobile={hash_of(KEY)}", f"batch={hash_of(OTHER)}")
WITH_KEYS = GatewayOptions(api_keys=KEYS, rpc=("echo",))
BEARER = {"authorization": f"Bearer {KEY}"}

PRIVATE, FOREIGN = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
WITH_TOKENS = GatewayOptions(
    api_keys=KEYS,
    rpc=("echo",),
    jwt_keys=PEM,
    jwt_issuer="https://login.example",
    jwt_audience="speech",
    jwt_algorithm=("ES256",),
)


def basic(name: str, key: str) -> str:
    return f"Basic {b64encode(f'{name}:{key}'.encode()).decode()}"


def token(key: Any = PRIVATE, algorithm: str = "ES256", **fields: Any) -> str:
    """A token that is valid unless something is written otherwise; None leaves a field out."""
    whole = {
        "iss": "https://login.example",
        "aud": "speech",
        "sub": "ann",
        "exp": time.time() + 86400,
    } | fields
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, key, algorithm)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (BEARER, 200),
        ({"authorization": f"bearer   {KEY} "}, 200),
        ({"x-api-key": KEY}, 200),
        ({"authorization": basic("mobile", KEY)}, 200),
        ({"authorization": basic("", KEY)}, 200),
        (BEARER | {"x-api-key": KEY}, 200),
        ({}, 401),
        ({"authorization": basic("batch", KEY)}, 401),
        (BEARER | {"x-api-key": OTHER}, 401),
        ({"x-api-key": KEY[:-1]}, 401),
        ({"x-api-key": f"{KEY}x"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": hash_of(KEY)}, 401),
        ({"authorization": KEY}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": f"Bearer {KEY} {KEY}"}, 401),
        ({"authorization": "Basic ???"}, 401),
        ({"authorization": f"Digest {KEY}"}, 401),
        ({"x-api-key": "x" * 9000}, 401),
    ],
)
async def test_who_shows_a_key_is_let_in_and_nobody_else(headers: dict[str, str], status: int) -> None:
    async with front({}, WITH_KEYS, echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith('Bearer realm="rpcb-trio"')
        assert KEY not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/readyz/", 200),
        ("GET", f"/files/{'a' * 32}.wav", 404),
        ("GET", "/", 401),
        ("GET", "/docs", 401),
        ("GET", "/openapi.json", 401),
        ("GET", "/static/routes.json", 401),
        ("GET", "/metrics", 401),
        ("GET", "/events", 401),
        ("GET", "/nowhere", 401),
        ("POST", "/rpc/echo", 401),
        ("POST", "/rpc/nowhere", 401),
        ("POST", "/livez/../rpc/echo", 401),
        ("POST", "//files/x", 401),
    ],
)
async def test_without_a_key_only_probes_and_files_of_a_secret_name_are_answered(
    method: str, path: str, status: int
) -> None:
    async with front({}, WITH_KEYS, echo=echo) as gateway:
        answer = await gateway.http.request(method, path)
    assert answer.status_code == status


async def test_without_keys_nothing_is_asked_and_any_header_is_passed_over() -> None:
    async with front({}, GatewayOptions(rpc=("echo",)), echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", content=b"hi", headers={"authorization": "?"})
    assert answer.status_code == 200


async def test_a_browser_is_asked_for_the_key_where_it_opens_a_page_and_nowhere_else() -> None:
    async with front({}, WITH_KEYS) as gateway:
        page = await gateway.http.get("/", headers={"accept": "text/html,*/*"})
        script = await gateway.http.get("/static/routes.json")
        opened = await gateway.http.get("/", headers={"authorization": basic("mobile", KEY)})
    asked = page.headers.get_list("www-authenticate")
    assert [each.partition(" ")[0] for each in asked] == ["Bearer", "Basic"]
    assert "Basic" not in script.headers["www-authenticate"]
    assert opened.status_code == 200


async def test_the_document_says_how_to_show_a_key_and_what_becomes_of_who_shows_none() -> None:
    routes = {"sound": {"queue": "x", "form": {"sound": "file"}, "urls": {"sound": "url"}}}
    async with front(routes, WITH_KEYS) as gateway:
        document = (await gateway.http.get("/openapi.json", headers=BEARER)).json()
    async with front(routes, GatewayOptions()) as gateway:
        without = (await gateway.http.get("/openapi.json")).json()
    assert {each["type"] for each in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    assert {"401", "403", "429"} <= document["paths"]["/sound"]["post"]["responses"].keys()
    assert document["paths"]["/files/{name}"]["get"]["security"] == []
    assert "security" not in without
    assert "401" not in without["paths"]["/sound"]["post"]["responses"]


async def test_a_page_of_another_origin_may_ask_whether_it_may_call_without_a_key() -> None:
    options = GatewayOptions(api_keys=KEYS, rpc=("echo",), cors=("https://example.org",))
    asked = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    async with front({}, options, echo=echo) as gateway:
        allowed = await gateway.http.options("/rpc/echo", headers=asked)
        refused = await gateway.http.post("/rpc/echo", headers={"origin": "https://example.org"})
    assert (allowed.status_code, allowed.headers["access-control-allow-headers"]) == (200, "authorization")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
        401,
        "https://example.org",
    )


ROUTES: dict[str, Any] = {
    "all": {"queue": "echo"},
    "mine": {"queue": "echo", "auth": ["batch", "mob*"]},
    "theirs": {"queue": "echo", "auth": ["batch"]},
    "form": {"queue": "told", "form": {"text": "text"}, "auth": ["batch"]},
    "vectors": {"queue": "echo", "preset": "openai-embeddings", "auth": ["batch"]},
    "whole": {"form": {"text": "text"}, "parts": {"one": {"route": "form"}}},
}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/all", 200),
        ("/mine", 200),
        ("/theirs", 403),
        ("/theirs/", 403),
        ("/rpc/theirs", 403),
        ("/rpc/mine", 200),
        ("/form", 403),
        ("/whole", 200),
        ("/v1/embeddings", 403),
        ("/jobs/theirs", 403),
        ("/jobs/mine", 202),
    ],
)
async def test_a_route_that_names_callers_is_for_them_alone(path: str, status: int) -> None:
    asked = {"text": "x", "model": "vectors", "input": "x"}
    body: dict[str, Any] = {"json": asked} if path in ("/form", "/whole", "/v1/embeddings") else {}
    options = msgspec.structs.replace(WITH_KEYS, jobs=f"memory://{uuid4().hex}/jobs")
    async with front(ROUTES, options, echo=echo, told=told({"a": 1})) as gateway:
        answer = await gateway.http.post(path, headers=BEARER, **body)
    assert answer.status_code == status
    assert status < 400 or "this key may not call this route" in answer.text


@pytest.mark.parametrize(
    ("routes", "status"),
    [
        ({}, 200),
        ({"x": {"queue": "echo", "auth": ["batch"]}}, 403),
        ({"x": {"routing_key": "echo", "auth": ["batch"]}}, 403),
        ({"x": {"queue": "echo", "auth": ["batch"]}, "y": {"queue": "echo", "auth": ["mobile"]}}, 200),
        ({"x": {"queue": "echo", "auth": ["batch"]}, "y": {"queue": "echo"}}, 200),
    ],
    ids=["no route", "not its own", "by a key", "one of two", "one for all"],
)
async def test_a_queue_whose_routes_are_for_some_is_not_for_others_by_its_own_name(
    routes: dict[str, Any], status: int
) -> None:
    async with front(routes, WITH_KEYS, echo=echo) as gateway:
        answer = await gateway.http.post("/rpc/echo", headers=BEARER)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "ends"),
    [
        ([], ["websocket.close"]),
        ([(b"x-api-key", b"wrong")], ["websocket.close"]),
        ([(b"x-api-key", KEY.encode())], ["websocket.accept", "websocket.close"]),
    ],
    ids=["no key", "a wrong key", "a key"],
)
async def test_a_web_socket_of_a_further_route_asks_for_a_key_too(
    headers: list[tuple[bytes, bytes]], ends: list[str]
) -> None:
    sent: list[str] = []

    async def open_and_close(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async def receive() -> Message:
        await trio.lowlevel.checkpoint()
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message["type"])

    app = make_app("amqp://localhost", {}, WITH_KEYS, more=[WebSocketRoute("/ws", open_and_close)])
    scope = {"type": "websocket", "path": "/ws", "headers": headers, "query_string": b"", "scheme": "ws"}
    await app(scope, receive, send)
    assert sent == ends


@pytest.mark.parametrize(
    ("routes", "options", "why"),
    [
        (
            {"x": {"queue": "x", "auth": ["mobil"]}},
            WITH_KEYS,
            "no API key has that name.* mobile",
        ),
        ({"x": {"queue": "x", "auth": ["mobile"]}}, GatewayOptions(), "the gateway knows no keys"),
        ({"x": {"queue": "x", "auth": []}}, WITH_KEYS, "auth is empty"),
    ],
)
def test_a_route_for_callers_that_there_can_not_be_is_refused_at_the_start(
    routes: dict[str, Any], options: GatewayOptions, why: str
) -> None:
    with pytest.raises(SettingError, match=f"x.: .*{why}"):
        make_app("amqp://localhost", read_routes(routes), options)


async def test_a_route_for_callers_stays_closed_where_a_reload_has_taken_all_keys_away() -> None:
    async with front(ROUTES, WITH_KEYS, echo=echo, told=told(1)) as gateway:
        gateway.app.state.dispatcher.options = GatewayOptions()
        statuses = [(await gateway.http.post(path)).status_code for path in ("/all", "/mine")]
    assert statuses == [200, 403]


async def test_a_caller_that_sends_too_many_is_told_when_to_come_again_and_others_are_not(
    autojump_clock: MockClock,
) -> None:
    options = GatewayOptions(api_keys=KEYS, rpc=("echo",), rate_limit="6/m")

    async def status(key: str) -> tuple[int, str | None]:
        answer = await gateway.http.post("/rpc/echo", headers={"x-api-key": key})
        return answer.status_code, answer.headers.get("retry-after")

    async with front({}, options, echo=echo) as gateway:
        assert [await status(KEY) for _ in range(6)] == [(200, None)] * 6
        assert await status(KEY) == (429, "10")
        assert await status(OTHER) == (200, None)
        assert (await gateway.http.get("/", headers={"x-api-key": KEY})).status_code == 200
        autojump_clock.jump(9)
        assert await status(KEY) == (429, "1")
        autojump_clock.jump(1)
        assert [await status(KEY) for _ in range(2)] == [(200, None), (429, "10")]


async def test_a_tenant_is_who_shows_the_key_whatever_header_he_sends() -> None:
    seen: list[Mapping[str, object]] = []
    options = GatewayOptions(api_keys=KEYS, rpc=("echo",), tenant="x-tenant")
    async with front({}, options, echo=echo) as gateway:
        call = gateway.client.call

        async def noted(*args: Any, **more: Any) -> Any:
            seen.append(more["headers"])
            return await call(*args, **more)

        gateway.client.call = noted  # type: ignore[method-assign] # it looks at what is sent
        await gateway.http.post("/rpc/echo", headers=BEARER | {"x-tenant": "batch"})
    assert [headers["x-tenant"] for headers in seen] == ["mobile"]
    assert not any(KEY in str(headers) for headers in seen)


@pytest.mark.parametrize(
    ("shown", "status", "why"),
    [
        (token(), 200, ""),
        (KEY, 200, ""),
        (token(exp=time.time() - 100), 401, "it has expired"),
        (token(nbf=time.time() + 1e6), 401, "it is not valid yet"),
        (token(aud="other"), 401, "it is for another audience"),
        (token(iss="https://evil.example"), 401, "it is of another issuer"),
        (token(exp=None), 401, "it lacks exp"),
        (token(sub=None), 401, "it lacks exp, iss, aud or sub"),
        (token(sub=""), 401, "its sub is empty"),
        (token(FOREIGN), 401, "it can't be verified"),
        (token("x" * 32, "HS256"), 401, "it is signed with an algorithm"),
        (token("", "none"), 401, "it is signed with an algorithm"),
        (token()[:-4], 401, "it can't be verified"),
        ("a.b.c", 401, "it can't be verified"),
        (OTHER[:-1], 401, "it can't be verified"),
    ],
    ids=lambda value: None if not isinstance(value, str) or len(value) < 45 else "token",
)
async def test_a_token_counts_that_its_issuer_has_signed_for_us_and_that_is_valid_now(
    shown: str, status: int, why: str
) -> None:
    async with front({"x": {"queue": "echo", "auth": ["ann", "mobile"]}}, WITH_TOKENS, echo=echo) as gateway:
        answer = await gateway.http.post("/x", headers={"authorization": f"Bearer {shown}"})
    assert answer.status_code == status
    if why:
        assert answer.json()["detail"].startswith(f"neither a valid key nor a valid token: {why}")
        assert answer.headers["www-authenticate"].endswith('error="invalid_token"')


async def test_a_token_of_another_subject_may_not_call_a_route_of_named_ones() -> None:
    async with front({"x": {"queue": "echo", "auth": ["bob"]}}, WITH_TOKENS, echo=echo) as gateway:
        answer = await gateway.http.post("/x", headers={"authorization": f"Bearer {token()}"})
    assert answer.status_code == 403


class Issuer:
    """What is at the URL of a JWKS."""

    def __init__(self) -> None:
        self.keys = {"1": PRIVATE}
        self.asked = 0
        self.is_away = False

    def fetch(self, *_: object) -> dict[str, Any]:
        self.asked += 1
        if self.is_away:
            raise OSError("no route to host")
        return {"keys": [self._key(kid, key) for kid, key in self.keys.items()]}

    def _key(self, kid: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        told = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {**told, "kid": kid, "alg": "ES256", "use": "sig"}


async def test_keys_at_a_url_are_fetched_when_they_are_needed_and_no_token_has_them_fetched_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer, now = Issuer(), 1000.0
    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", issuer.fetch)
    monkeypatch.setattr("anyio.current_time", lambda: now)
    tokens = _tokens.Tokens(
        "https://login.example/jwks", issuer="https://login.example", audience="speech", algorithms=("ES256",)
    )

    def shown(kid: str | None, key: Any = PRIVATE) -> str:
        fields = {"iss": "https://login.example", "aud": "speech", "sub": "ann", "exp": time.time() + 600}
        return jwt.encode(fields, key, "ES256", headers={} if kid is None else {"kid": kid})

    async def is_valid(kid: str | None, key: Any = PRIVATE) -> bool:
        try:
            return await tokens.subject_of(shown(kid, key)) == "ann"
        except ValueError:
            return False

    issuer.is_away = True
    with pytest.raises(Problem, match="can't be had"):
        await tokens.subject_of(shown("1"))
    issuer.is_away, now = False, now + _tokens.PAUSE
    assert [await is_valid("1"), await is_valid(None), issuer.asked] == [True, True, 2]
    issuer.keys["2"] = FOREIGN
    assert not any([await is_valid("2", FOREIGN) for _ in range(5)])
    assert issuer.asked == 2
    now += _tokens.PAUSE
    assert [await is_valid("2", FOREIGN), await is_valid("1", FOREIGN), issuer.asked] == [True, False, 3]
    del issuer.keys["1"]
    now += _tokens.FRESH + 1
    assert [await is_valid("1"), await is_valid("2", FOREIGN), issuer.asked] == [False, True, 4]
    issuer.is_away, now = True, now + _tokens.FRESH + 1
    assert [await is_valid("2", FOREIGN), issuer.asked] == [True, 5]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"api_keys": ("mobile",)}, "the API key of mobile has no SHA-256 hash .* rpcb-trio api-key mobile"),
        ({"api_keys": (f"mobile={KEY}",)}, "the API key of mobile has no SHA-256 hash"),
        ({"api_keys": (f"m x={hash_of(KEY)}",)}, "is written as NAME=HASH"),
        ({"api_keys": (*KEYS, f"x={hash_of(KEY)}")}, "x has the API key of mobile"),
        ({"rate_limit": "100"}, "rate_limit is 100; write it as 10/s"),
        ({"rate_limit": "100/m"}, "rate_limit is for callers with keys"),
        ({"jwt_keys": PEM}, "jwt_keys is set, but jwt_issuer is not"),
        ({"jwt_issuer": "x"}, "jwt_issuer is set, but jwt_keys is not"),
        ({"jwt_keys": PEM, "jwt_issuer": "x"}, "jwt_keys is set, but jwt_audience is not"),
        (
            {"jwt_keys": "http://x.example", "jwt_issuer": "x", "jwt_audience": "y"},
            "write it as https://, or name a file",
        ),
        ({"jwt_keys": "x", "jwt_issuer": "x", "jwt_audience": "y"}, "no public key in PEM"),
        (
            {"jwt_keys": PEM, "jwt_issuer": "x", "jwt_audience": "y", "jwt_algorithm": ("HS256",)},
            "jwt_algorithm is HS256; choose among RS256",
        ),
    ],
)
def test_what_would_let_in_nobody_or_everybody_is_a_wrong_setting(options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingError, match=why) as raised:
        GatewayOptions(**options)
    assert KEY not in str(raised.value)


def test_a_key_may_be_replaced_without_a_gap_and_a_file_may_have_comments() -> None:
    text = f"# mobile\n\n mobile = {hash_of(KEY)} \r\nmobile={hash_of(OTHER).upper()}\n"
    keys = read_keys(lines_of_keys(text))
    assert [keys.name_of(Credential(each)) for each in (KEY, OTHER, "x")] == ["mobile", "mobile", None]


def test_a_new_key_is_like_no_other_and_is_not_shown() -> None:
    one, other = new_key(), new_key()
    assert one != other
    assert len(one) > 40
    assert one not in repr(Credential(one))


@settings(steady, max_examples=80)
@given(
    st.lists(
        st.text(max_size=30)
        | st.builds("{} {}".format, st.sampled_from(("basic", "Bearer")), st.text("aZ=+/.: -", max_size=20)),
        max_size=3,
    ),
    st.lists(st.text(max_size=20), max_size=2),
)
def test_whatever_stands_in_the_headers_is_a_credential_or_refused(
    authorization: list[str], api_key: list[str]
) -> None:
    try:
        credential = credential_in(authorization, api_key)
    except ValueError:
        return
    assert (credential is None) == (not authorization and not api_key)
    if credential is not None:
        assert credential.text
        assert read_keys(KEYS).name_of(credential) is None


@settings(steady, max_examples=50)
@given(
    st.integers(1, 20), st.lists(st.tuples(st.floats(0, 10), st.sampled_from("ab")), min_size=1, max_size=60)
)
def test_nobody_sends_more_than_his_rate_and_who_waits_as_told_is_served(
    count: int, asked: list[tuple[float, str]]
) -> None:
    rates, rate, now, taken = Rates(), Rate(count, 10.0), 0.0, dict[str, list[float]](a=[], b=[])
    for pause, name in asked:
        now += pause
        if rates.take(name, rate, now):
            continue
        taken[name].append(now)
    for times in taken.values():
        for n, first in enumerate(times):
            within = sum(first <= each < first + 10.0 for each in times[n:])
            assert within <= 2 * count
    wait = rates.take("a", rate, now)
    assert wait <= 10.0 / count + 1e-6
    assert not wait or rates.take("a", rate, now + wait + 1e-6) == 0


def test_the_callers_that_are_counted_are_bounded() -> None:
    rates = Rates()
    for number in range(MOST_CALLERS + 10):
        rates.take(str(number), Rate(1, 1.0), 0.0)
    assert len(rates) == MOST_CALLERS
