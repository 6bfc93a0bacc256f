"""An envelope of a deployment's own: the shape of a route's responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rpcb_trio import Failure, Outcome
from rpcb_trio.gateway import Envelope, Field, Problem
from tests.gateway.fronts import Front, front


class Legacy:
    """Answers under `result`; failures have 418 and the name of the field that is missing."""

    answer = "result"
    schema: Mapping[str, Any] = {"type": "object", "properties": {"result": {}, "error": {}}}
    passes_error_replies = False

    def success(self, answer: bytes) -> bytes:
        return b'{"result":%b}' % answer

    def failure(self, problem: Problem, form: Mapping[str, Field]) -> tuple[int, bytes]:
        missing = form[problem.field].help if problem.is_missing and problem.field else "none"
        return 418, f'{{"error":"{problem.code}","missing":"{missing}"}}'.encode()


LEGACY: Envelope = Legacy()
ROUTE: dict[str, Any] = {
    "queue": "shout",
    "body": "json",
    "envelope": "tests.gateway.test_envelopes:LEGACY",
    "form": {"text": {"help": "what to shout"}},
}


class Shout:
    """Refuses whispers."""

    def decode(self, body: bytes) -> str:
        text = body.decode()
        if "whisper" in text:
            raise ValueError("speak up")
        return text

    def infer(self, items: list[str]) -> list[str]:
        return [item.upper() for item in items]

    def encode(self, outcome: Outcome[str]) -> bytes:
        return b"{}" if isinstance(outcome, Failure) else outcome.value.encode()


@asynccontextmanager
async def shouting() -> AsyncIterator[Front]:
    async with front({"shout": ROUTE}, shout=Shout()) as gateway:
        yield gateway


async def test_answers_and_failures_have_the_shape_that_the_envelope_gives_them() -> None:
    async with shouting() as gateway:
        answer = await gateway.http.post("/shout", json={"text": "hey"})
        missing = await gateway.http.post("/shout", json={})
        failed = await gateway.http.post("/shout", json={"text": "whisper"})
    assert (answer.status_code, answer.json()) == (200, {"result": {"TEXT": "HEY"}})
    assert (missing.status_code, missing.json()) == (418, {"error": "form", "missing": "what to shout"})
    assert (failed.status_code, failed.json()["error"]) == (418, "decode")


async def test_a_client_that_accepts_problems_gets_failures_as_such_with_their_own_status() -> None:
    async with shouting() as gateway:
        failed = await gateway.http.post("/shout", json={}, headers={"accept": "application/problem+json"})
    assert (failed.status_code, failed.headers["content-type"]) == (422, "application/problem+json")


async def test_the_document_describes_the_envelope_and_the_page_knows_where_the_answer_is() -> None:
    async with shouting() as gateway:
        document = (await gateway.http.get("/openapi.json")).json()
        [route] = (await gateway.http.get("/static/routes.json")).json()["routes"]
    content = document["paths"]["/shout"]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == LEGACY.schema
    assert route["envelope"] == "result"
