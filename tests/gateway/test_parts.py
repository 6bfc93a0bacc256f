"""Composite routes: several services, in sequence and side by side, and what becomes of a part that fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, Bodies, batch_headers, front, one_by_one, told

NO_JSON = msgspec.msgpack.Ext(5, b"x")

ROUTES: dict[str, Any] = {
    "loud": {
        "queue": "loud",
        "answer": "data",
        "form": {"text": {}},
        "urls": {"sound": "url"},
        "base64": False,
    },
    "count": {"queue": "count", "form": {"text": {}, "unit": {"default": "letters"}}},
    "slow": {"queue": "slow", "timeout": 5.0, "form": {"text": {}}},
}


def composed(**parts: dict[str, Any]) -> dict[str, Any]:
    """The routes and one, `/all`, of these parts."""
    return ROUTES | {"all": {"timeout": 20.0, "form": {"text": {}}, "parts": parts}}


loud = one_by_one(lambda body: {"data": {"text": body["text"].upper(), "sound": b"boom"}})
count = one_by_one(lambda body: {"n": len(body["text"]), "of": body["text"], "unit": body["unit"]})


async def test_a_part_that_takes_from_another_waits_for_it_and_the_answers_are_combined() -> None:
    parts: dict[str, Any] = {
        "n": {"route": "count", "fields": {"text": "big.text"}, "constants": {"unit": "capitals"}},
        "big": {"route": "loud"},
        "plain": {"route": "count"},
    }
    async with front(composed(**parts), loud=loud, count=count) as gateway:
        answer = (await gateway.http.post("/all", data={"text": "hello"})).json()
    url = answer["big"].pop("url")
    assert answer == {
        "n": {"n": 5, "of": "HELLO", "unit": "capitals"},
        "big": {"text": "HELLO"},
        "plain": {"n": 5, "of": "hello", "unit": "letters"},
    }
    assert url.startswith("http://gateway/files/")


async def test_parts_that_take_nothing_from_each_other_run_side_by_side(autojump_clock: MockClock) -> None:
    parts: dict[str, Any] = {"one": {"route": "slow"}, "two": {"route": "slow"}, "n": {"route": "count"}}
    async with front(composed(**parts), slow=None, count=count) as gateway:
        started = trio.current_time()
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert 5.0 <= trio.current_time() - started < 6.0
    assert answer.status_code == 200
    assert answer.json()["n"]["n"] == 5
    assert answer.json()["one"]["problem"] == answer.json()["two"]["problem"]
    assert answer.json()["one"]["problem"]["error"] == "timeout"


async def test_a_part_that_fails_has_a_problem_in_its_place_as_have_those_that_take_from_it() -> None:
    parts: dict[str, Any] = {
        "big": {"route": "loud"},
        "n": {"route": "count", "fields": {"text": "big.text"}},
        "m": {"route": "count"},
    }
    async with front(composed(**parts), loud=told({"nothing": 1}), count=count) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.status_code == 200
    assert answer.json()["m"]["n"] == 5
    assert answer.json()["big"]["problem"]["error"] == "bad-reply"
    assert answer.json()["n"]["problem"]["status"] == 424
    assert "big" in answer.json()["n"]["problem"]["detail"]


async def test_where_all_parts_fail_the_route_fails_as_the_first_that_failed_of_itself() -> None:
    parts: dict[str, Any] = {
        "n": {"route": "count", "fields": {"text": "big.text"}},
        "big": {"route": "loud"},
    }
    async with front(composed(**parts)) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert (answer.status_code, answer.json()["error"]) == (502, "unroutable")


async def test_a_file_without_room_costs_only_its_part() -> None:
    parts: dict[str, Any] = {
        "big": {"route": "loud"},
        "n": {"route": "count", "fields": {"text": "big.text"}},
    }
    async with front(composed(**parts), GatewayOptions(files_size=1), loud=loud, count=count) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.status_code == 200
    assert answer.json()["big"]["problem"]["status"] == 507
    assert answer.json()["n"]["n"] == 5


@pytest.mark.parametrize("service", [told(NO_JSON), told({"data": NO_JSON})])
async def test_what_can_t_be_written_as_json_costs_only_its_part(service: Bodies) -> None:
    parts: dict[str, Any] = {"big": {"route": "loud"}, "n": {"route": "count"}}
    async with front(composed(**parts), loud=service, count=count) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.status_code == 200
    assert answer.json()["big"]["problem"]["error"] == "bad-reply"
    assert answer.json()["n"]["n"] == 5


async def test_a_problem_leaves_out_a_reply_that_can_t_be_written_as_json() -> None:
    routes = composed(big={"route": "loud"}, n={"route": "count"})
    routes["loud"] = routes["loud"] | {"status": {"field": "status"}}
    async with front(routes, loud=told({"status": 500, "why": NO_JSON}), count=count) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.status_code == 200
    assert answer.json()["big"]["problem"]["error"] == "service"
    assert "reply" not in answer.json()["big"]["problem"]


async def test_a_field_that_is_not_in_the_answer_fails_only_the_part_that_takes_it() -> None:
    parts: dict[str, Any] = {
        "big": {"route": "loud"},
        "n": {"route": "count", "fields": {"text": "big.no.such"}},
    }
    async with front(composed(**parts), loud=loud, count=count) as gateway:
        answer = (await gateway.http.post("/all", data={"text": "hello"})).json()
    assert answer["big"]["text"] == "HELLO"
    assert "big.no.such: there is none" in answer["n"]["problem"]["detail"]


async def test_the_route_s_own_timeout_bounds_the_sequence(autojump_clock: MockClock) -> None:
    routes = composed(one={"route": "slow"}, two={"route": "slow", "fields": {"text": "one.text"}})
    routes["all"]["timeout"] = 3.0
    async with front(routes, slow=None) as gateway:
        started = trio.current_time()
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.status_code == 504
    assert trio.current_time() - started < 4.0


async def test_in_an_envelope_the_parts_are_its_data() -> None:
    routes = composed(n={"route": "count"})
    routes["all"]["envelope"] = ENVELOPE
    async with front(routes, count=count) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert answer.json()["status"] == 200
    assert answer.json()["data"]["n"]["n"] == 5


async def test_in_how_large_a_batch_each_part_was_stands_in_a_header_where_workers_say_so() -> None:
    parts: dict[str, Any] = {"n": {"route": "count"}, "Big": {"route": "loud"}, "big": {"route": "loud"}}
    async with front(composed(**parts), loud=batch_headers(loud), count=count) as gateway:
        silent = await gateway.http.post("/all", data={"text": "hello"})
    async with front(composed(**parts), loud=loud, count=batch_headers(count)) as gateway:
        answer = await gateway.http.post("/all", data={"text": "hello"})
    assert silent.headers["rpcb-batch-sizes"] in ("big=1", "big=2")
    assert answer.headers["rpcb-batch-sizes"] == "n=1"
