"""Whose fault an error reply is decides its HTTP status, and why it failed reaches the caller."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from rpcb_trio import RemoteError, Reply, ReplyTimeout, SettingError
from rpcb_trio.errors import CallError, CallInterrupted, PublishRefused, RequestTooBig
from tests.gateway.fronts import ENVELOPE, answered_with, front, one_by_one

ROUTES: dict[str, Any] = {
    "plain": {"queue": "q", "form": {"text": {}}},
    "face": {"queue": "q", "envelope": ENVELOPE, "form": {"text": {}}},
    "raw": {"queue": "q"},
    "all": {"form": {"text": {}}, "parts": {"one": {"route": "plain"}}},
}
PATHS = ("/plain", "/raw", "/all", "/rpc/raw")
PROBLEMS = {"accept": "application/problem+json, application/json;q=0.9"}


def error(code: str, kind: str | None = None, reason: str | None = None) -> Reply:
    """An error reply."""
    headers = {"rpcb-error": code, "rpcb-error-kind": kind, "rpcb-error-reason": reason}
    told = {name: value for name, value in headers.items() if value is not None}
    return Reply(body=msgspec.msgpack.encode({"sentence": "", "other": 402}), headers=told)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("empty-text", "request", 400),
        ("decode", "request", 422),
        ("too-big", "request", 413),
        ("no-gpu", "service", 500),
        ("full", "busy", 503),
        ("overloaded", "busy", 503),
        ("expired", "busy", 504),
        ("too-late", "busy", 504),
        ("request", None, 400),
        ("empty-text", None, 500),
        ("overloaded", None, 503),
        ("expired", None, 504),
        ("too-big", "service", 500),
        ("expired", "request", 400),
        ("new", "a-kind-of-later", 500),
    ],
)
async def test_the_kind_of_an_error_decides_its_status_whatever_its_code(
    path: str, code: str, kind: str | None, status: int
) -> None:
    async with answered_with(error(code, kind), ROUTES) as http:
        answer = await http.post(path, data={"text": "x"})
    assert (answer.status_code, answer.headers["rpcb-error"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("path", ["/plain", "/all"])
async def test_the_reason_is_the_detail_of_the_problem(path: str) -> None:
    async with answered_with(error("request", "request", "the text is empty"), ROUTES) as http:
        answer = await http.post(path, data={"text": "x"})
    assert answer.json()["detail"] == "the text is empty"


@pytest.mark.parametrize("path", [*PATHS, "/face"])
@pytest.mark.parametrize(
    "reason", ["the text is empty", "没有声音: 100 % noise", "a\r\nset-cookie: b", "x" * 9000]
)
async def test_the_reason_stands_in_a_header_and_makes_none_of_its_own(path: str, reason: str) -> None:
    async with answered_with(error("request", "request", reason), ROUTES) as http:
        answer = await http.post(path, data={"text": "x"})
    assert unquote(answer.headers["rpcb-error-reason"]) == reason[:500]
    assert answer.headers["rpcb-error-kind"] == "request"
    assert "set-cookie" not in answer.headers


async def test_a_failure_in_an_envelope_is_a_problem_for_a_client_that_accepts_problems() -> None:
    async with answered_with(error("request", "request", "it is a text"), ROUTES) as http:
        enveloped = await http.post("/face", data={"text": "x"})
        asked = await http.post("/face", data={"text": "x"}, headers=PROBLEMS)
        refused = await http.post(
            "/face", data={"text": "x"}, headers={"accept": "application/problem+json;q=0"}
        )
    data = {"sentence": "", "other": 402}
    assert (enveloped.status_code, enveloped.json()) == (
        200,
        {"status": 200, "message": "success", "data": data},
    )
    assert refused.json() == enveloped.json()
    assert (asked.status_code, asked.headers["content-type"]) == (400, "application/problem+json")
    assert (asked.json()["detail"], asked.json()["reply"]) == ("it is a text", data)


async def test_a_success_is_an_envelope_for_a_client_that_accepts_problems_too() -> None:
    async with front(ROUTES, q=one_by_one(lambda body: body)) as gateway:
        answer = await gateway.http.post("/face", data={"text": "x"}, headers=PROBLEMS)
        missing = await gateway.http.post("/face", headers=PROBLEMS)
    assert answer.json() == {"status": 200, "message": "success", "data": {"text": "x"}}
    assert (missing.status_code, missing.json()["field"]) == (422, "text")


class OfLater(CallError):
    """An error of a later version."""


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (PublishRefused("full"), 503),
        (ReplyTimeout("late"), 504),
        (CallInterrupted("gone"), 503),
        (SettingError("odd"), 500),
        (RemoteError(Reply(body=b"odd")), 502),
        (RequestTooBig("17 MiB"), 413),
        (OfLater("new"), 502),
    ],
)
async def test_a_call_that_ends_without_a_reply_has_a_status_whatever_its_error(
    raised: Exception, status: int
) -> None:
    async with answered_with(raised, ROUTES) as http:
        answer = await http.post("/plain", data={"text": "x"})
    assert answer.status_code == status
    assert answer.json()["detail"] == str(raised)
