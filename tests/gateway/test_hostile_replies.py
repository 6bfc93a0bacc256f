"""What workers answer is input too: whatever it is, the gateway has an answer, and no fault of its own."""

from __future__ import annotations

import base64
import logging
import math
import re
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rpcb_trio import Reply
from rpcb_trio._gateway import _items
from tests.gateway.fronts import ENVELOPE, answered_with

FORM: dict[str, Any] = {"text": {}}
ROUTES: dict[str, Any] = {
    "msgpack": {"queue": "q", "form": FORM},
    "json": {"queue": "q", "body": "json", "form": FORM},
    "face": {"queue": "q", "envelope": ENVELOPE, "form": FORM},
    "deep": {
        "queue": "q",
        "form": FORM,
        "answer": "data.inner",
        "status": {"field": "status", "http": {"402": 415}},
        "urls": {"enhance": "url"},
    },
    "all": {
        "form": FORM,
        "parts": {"one": {"route": "deep"}, "two": {"route": "json", "fields": {"text": "one.a"}}},
    },
    "raw": {"queue": "q"},
}
TOKEN = re.compile(r"[a-z0-9._-]+", re.ASCII)
PATHS = (*(f"/{name}" for name in ROUTES), "/rpc/any")

NAMES = st.sampled_from(
    ["rpcb-error", "rpcb-error-kind", "rpcb-error-reason", "rpcb-batch", "content-type", "rpcb-é", "rpcb-"]
) | st.text(max_size=30).map(lambda name: f"rpcb-{name}")
VALUES = st.one_of(
    st.text(max_size=300),
    st.integers(-(2**63), 2**63),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(max_size=20),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "inner", "status", "enhance", "a", "url"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    TREES.map(msgspec.msgpack.encode),
    TREES.map(msgspec.json.encode),
    st.sampled_from(
        [
            b"NaN",
            b'{"a":[Infinity,-Infinity]}',
            b"1e999",
            b"9" * 5000,
            b'"NaN\\ud800"',
            b"\xc1",
            b"[" * 100_000,
        ]
    ),
)
TYPES = st.sampled_from(["", " ", "a/b", " a/b ", "a\x7f", "é", "x" * 400, "a\r\nb: c", "\t"]) | st.text(
    max_size=20
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example("/raw", b"", {"rpcb-a b": 1}, "a/b")
@example("/raw", b"", {"rpcb-\r\nx": "y"}, "a/b")
@example("/raw", b"", {"rpcb-n": 10**5000}, " ")
@example("/json", b'{"a":NaN}', {}, "a/b")
@example("/deep", msgspec.msgpack.encode({"status": [1] * 9}), {"rpcb-error": "x" * 300}, "a/b")
@given(
    path=st.sampled_from(PATHS),
    body=BODIES,
    headers=st.dictionaries(NAMES, VALUES, max_size=5),
    content_type=TYPES,
)
async def test_any_reply_becomes_an_answer_and_no_fault_of_the_gateway_s_own(
    caplog: pytest.LogCaptureFixture, path: str, body: bytes, headers: dict[str, Any], content_type: str
) -> None:
    caplog.clear()
    reply = Reply(body=body, headers=headers, content_type=content_type)
    async with answered_with(reply, ROUTES) as http:
        answer = await http.post(path, data={"text": "x"})
        again = await http.get("/livez")
    assert answer.headers.get("rpcb-error") != "gateway"
    assert [each.message for each in caplog.records if each.levelno > logging.WARNING or each.exc_info] == []
    assert sendable(answer)
    assert again.status_code == 200


def sendable(answer: httpx.Response) -> bool:
    """Whether HTTP takes its headers; there is no server here to see to that."""
    return all(
        value == value.strip() and value.isascii() and value.isprintable() and TOKEN.fullmatch(name)
        for name, value in answer.headers.items()
    )


MANY = 3_000_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/msgpack", b"\xdd" + MANY.to_bytes(4) + b"\x90" * MANY),
        ("/msgpack", b"\xdf" + MANY.to_bytes(4) + b"\x01\xc0" * MANY),
        ("/msgpack", b"\x92" + b"\x9f" * (MANY // 15) + b"\x00" * MANY),
        ("/json", b"[" + b"[]," * MANY + b"1]"),
    ],
    ids=["arrays", "a map", "arrays in arrays", "JSON"],
)
async def test_a_reply_of_more_values_than_a_gateway_bears_is_none(path: str, body: bytes) -> None:
    async with answered_with(Reply(body=body), ROUTES) as http:
        answer = await http.post(path, data={"text": "x"})
    assert (answer.status_code, answer.json()["error"]) == (502, "bad-reply")
    assert "2000000 values" in answer.json()["detail"]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(tree=TREES, junk=st.binary(max_size=20))
def test_values_are_counted_as_they_are_read(tree: Any, junk: bytes) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_items, "FEW", 0)
        count = values_in(tree)
        for most, too_many in ((count, False), (max(count - 1, 1), count > 1)):
            patched.setattr(_items, "MOST_ITEMS", most)
            assert _items.holds_too_many(msgspec.msgpack.encode(tree), "msgpack") == too_many
        _items.holds_too_many(junk, "msgpack")


def values_in(tree: Any) -> int:
    """All of them, keys too."""
    if isinstance(tree, dict):
        return 1 + sum(1 + values_in(each) for each in tree.values())
    return 1 + sum(map(values_in, tree)) if isinstance(tree, list) else 1


async def test_a_large_reply_of_few_values_is_read() -> None:
    sound = bytes(range(256)) * 20_000
    async with answered_with(Reply(body=msgspec.msgpack.encode({"sound": sound})), ROUTES) as http:
        answer = await http.post("/msgpack", data={"text": "x"})
    assert base64.b64decode(answer.json()["sound"]) == sound


async def test_more_headers_than_a_worker_has_reason_to_send_are_left_out() -> None:
    reply = Reply(body=b"", headers={f"rpcb-{number}": "x" * 200 for number in range(5000)})
    async with answered_with(reply, ROUTES) as http:
        answer = await http.post("/raw")
    assert (answer.status_code, len(answer.headers) < 50) == (200, True)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
async def test_a_number_that_json_has_not_is_null_as_in_messagepack(text: str) -> None:
    whole = f'{{"score": {text}, "name": "NaN", "others": [1.5, {text}]}}'.encode()
    packed = msgspec.msgpack.encode({"score": math.nan, "name": "NaN", "others": [1.5, math.inf]})
    for path, body in (("/json", whole), ("/msgpack", packed)):
        async with answered_with(Reply(body=body), ROUTES) as http:
            answer = await http.post(path, data={"text": "x"})
        assert (answer.status_code, answer.json()) == (
            200,
            {"score": None, "name": "NaN", "others": [1.5, None]},
        )
