"""`[routes.NAME]`: what makes no sense is told in one line that names the table and the key."""

from __future__ import annotations

from typing import Any

import pytest

from rpcb_trio import SettingError
from rpcb_trio.gateway import read_routes
from tests.gateway.fronts import ENVELOPE

FORM = {"audio": "file"}
ASR: dict[str, Any] = {"queue": "asr", "form": FORM}


def all_of(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The route `asr`, and one, `x`, with this part."""
    return {"asr": ASR, "x": {"form": FORM, "parts": {"one": part}} | more}


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"x": {}}, "give either queue, or exchange and routing_key"),
        ({"x": ASR | {"routing_key": "k"}}, "give either queue, or exchange and routing_key"),
        ({"x": ASR | {"exchange": "e"}}, "exchange goes with routing_key"),
        ({"x": ASR | {"quee": "a"}}, "there is no key quee; did you mean queue?"),
        ({"x": ASR | {"timeout": "10"}}, "Expected `float | null`, got `str`, in `timeout`"),
        ({"x": ASR | {"timeout": 0}}, "timeout is 0; give more than 0 seconds"),
        ({"x": ASR | {"timeout": float("nan")}}, "timeout is nan"),
        ({"x": ASR | {"path": "asr"}}, "path is asr; write it as /asr"),
        ({"x": ASR | {"path": "/a/{b}"}}, "without braces"),
        ({"x": ASR | {"path": "/docs"}}, "/docs is the gateway's own"),
        ({"x": ASR | {"path": "/rpc/asr"}}, "/rpc/asr is the gateway's own"),
        ({"x": ASR, "y": ASR | {"path": "/x"}}, "path /x is that of [routes.x]"),
        ({"x": ASR | {"method": "GET"}}, "method is GET; choose from POST, PUT"),
        (
            {"x": {"queue": "a", "form": {"a": "audio"}}},
            "form.a.type is audio; choose from file, text, integer, number, boolean",
        ),
        ({"x": ASR | {"body": "jsn"}}, "body is jsn; choose from "),
        ({"x": ASR | {"reply": "jsn"}}, "reply is jsn; choose from bytes, msgpack, json"),
        ({"x": {"queue": "a", "form": {"a": {"type": "integer", "default": "1"}}}}, "'1' is no integer"),
        (
            {"x": {"queue": "a", "form": {"a": {"type": "integer", "choices": ["1"]}}}},
            "choices are for texts",
        ),
        (
            {"x": {"queue": "a", "form": {"a": {"default": "c", "choices": ["b"]}}}},
            "'c' is none of its choices",
        ),
        (
            {"x": {"queue": "a", "form": {"a": {}, "b": {}}, "body": "bytes"}},
            "body = bytes takes the only field",
        ),
        ({"x": {"queue": "a", "body": "json"}}, "body = json is made of a form"),
        ({"x": {"queue": "a", "answer": "data"}}, "answer looks into the reply"),
        (
            {"x": {"queue": "a", "envelope": ENVELOPE}},
            "an envelope holds the reply as JSON",
        ),
        (
            {"x": ASR | {"status": {"field": "s", "http": {"1": 200}}}},
            "1 is 200; give an HTTP status from 400",
        ),
        ({"x": "asr"}, "write it, and its form, as tables"),
        ({"x": ASR | {"envelope": "none.such:E"}}, "envelope is none.such:E, which can't be loaded"),
        ({"x": ASR | {"envelope": "json"}}, "write MODULE:ATTRIBUTE"),
        ({"x": ASR | {"envelope": "json:loads"}}, "envelope is json:loads, which is no Envelope"),
        ({"x": ASR | {"page": "json:page.js"}}, "page is json:page.js, which is not there"),
        ({"x": ASR | {"page": "none.such:page.js"}}, "which is not there; write PACKAGE:FILE"),
        ({"x": ASR | {"page": "json:../page.js"}}, "name a file in the package itself"),
        ({"x": ASR | {"form": {"a": {"type": "file", "sample": "a.wav"}}}}, "form.a: sample is a.wav"),
        (all_of({"route": "asr"}, queue="q"), "queue is for a route that calls one service"),
        (all_of({"route": "none"}), "parts.one: route is none; name a route"),
        (all_of({"route": "x"}), "parts.one: route is x; name a route"),
        (all_of({"route": "asr", "fields": {"sound": "audio"}}), "[routes.asr] has no field sound"),
        (all_of({"route": "asr", "fields": {"audio": "none"}}), "none is neither a field of the form nor"),
        (
            all_of({"route": "asr", "fields": {"audio": "none.x"}}),
            "none.x is neither a field of the form nor",
        ),
        (all_of({"route": "asr", "fields": {"audio": "one.x"}}), "one.x is neither a field of the form nor"),
        (all_of({"route": "asr"}, form={"text": {}}), "[routes.asr] needs audio"),
        (all_of({"route": "asr"}, form={"one": {}, "audio": "file"}), "parts.one has the name of a field"),
    ],
)
def test_what_is_wrong_with_a_route_is_said_in_one_line(tables: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_routes(tables)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"[routes.{list(tables)[-1]}]: ")
    assert "\n" not in str(caught.value)


def test_parts_that_wait_for_one_another_are_refused() -> None:
    parts = {
        "one": {"route": "asr", "fields": {"audio": "two.sound"}},
        "two": {"route": "asr", "fields": {"audio": "one.sound"}},
    }
    with pytest.raises(
        SettingError, match=r"its parts wait for one another: (one <- two <- one|two <- one <- two)"
    ):
        read_routes({"asr": ASR, "x": {"form": FORM, "parts": parts}})


def test_a_route_s_path_is_its_name_unless_it_says_another() -> None:
    routes = read_routes({"asr": ASR, "se": ASR | {"path": "/api/se"}})
    assert [route.path for route in routes.values()] == ["/asr", "/api/se"]
