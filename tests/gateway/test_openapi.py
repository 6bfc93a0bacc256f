"""What /openapi.json describes, asked with all that it allows and much that it does not, by schemathesis."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rpcb_trio import Outcome, Success
from rpcb_trio.gateway import GatewayOptions
from tests.gateway.fronts import ENVELOPE, echo, told
from tests.gateway.listening import listening

ROUTES: dict[str, Any] = {
    "asr": {
        "queue": "asr",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": {}},
    },
    "se": {
        "queue": "se",
        "answer": "data",
        "status": {"field": "status"},
        "urls": {"enhance": "url"},
        "form": {"audio": "file", "format": {"default": "wav", "choices": ["wav", "mp3"]}},
    },
    "all_fields": {
        "queue": "back",
        "form": {
            "number": "number",
            "integer": "integer",
            "boolean": "boolean",
            "text": {"optional": True},
            "file": {"type": "file", "optional": True},
        },
    },
    "text": {"queue": "echo", "body": "bytes", "reply": "bytes", "form": {"text": {}}},
    "raw": {"queue": "echo", "method": "PUT"},
    "both": {
        "form": {"audio": "file"},
        "parts": {
            "enhanced": {"route": "se"},
            "text": {
                "route": "asr",
                "fields": {"audio": "enhanced.enhance"},
                "constants": {"format": "wav"},
            },
        },
    },
}


class Back:
    """Answers a msgpack map with itself, and refuses what is none."""

    def decode(self, body: bytes) -> Any:
        return msgspec.msgpack.decode(body)

    def infer(self, items: list[Any]) -> list[Any]:
        return items

    def encode(self, outcome: Outcome[Any]) -> bytes:
        return msgspec.msgpack.encode(outcome.value if isinstance(outcome, Success) else None)


PRESETS: dict[str, Any] = {
    "hear": {"preset": "openai-transcriptions", "queue": "asr"},
    "vectors": {"preset": "openai-embeddings"},
    "tensors": {"preset": "open-inference", "queue": "back", "inputs": {"x": {"datatype": "FP32"}}},
}
"""Routes of known APIs, on paths of their own."""

SERVICES: dict[str, Any] = {
    "asr": told({"sentence": "hello", "other": 200}),
    "se": told({"status": 200, "message": "", "data": {"enhance": b"RIFF", "duration": "0.00"}}),
    "back": Back(),
    "echo": echo,
    "vectors": told([0.5, 1]),
}

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A gateway that runs in a thread of its own."""
    urls: list[str] = []
    has_started, may_end = threading.Event(), threading.Event()

    async def run() -> None:
        options = GatewayOptions(max_upload=10_000)
        async with listening(ROUTES | PRESETS, options, patience=math.inf, **SERVICES) as gateway:
            urls.append(gateway.url)
            has_started.set()
            await trio.to_thread.run_sync(may_end.wait)

    thread = threading.Thread(target=trio.run, args=[run])
    thread.start()
    assert has_started.wait(20)
    yield urls[0]
    may_end.set()
    thread.join()


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    """An HTTP client of it."""
    with httpx.Client(base_url=url) as client:
        yield client


KNOWN = ["/v1/audio/transcriptions", "/v1/embeddings", "/v1/models/{name}", "/v2/models/tensors/infer"]
PATHS = [*(f"/{name}" for name in ROUTES), "/rpc/{name}", "/files/{name}", *KNOWN]
WRONG = [path for path in PATHS if path not in ("/raw", "/files/{name}")]
"""There is nothing that bytes, or a file's name, must not be."""


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, GenerationMode.POSITIVE) for path in PATHS),
        *((path, GenerationMode.NEGATIVE) for path in WRONG),
    ],
)
def test_no_request_gets_a_server_error_or_what_is_not_described(
    url: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    [operation] = [each for each in operations if each.path == path]

    @settings(
        max_examples=10 if path in KNOWN else 30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.validate_response(case.call(base_url=url), checks=CHECKS)

    ask()


FORMS = st.binary(max_size=200) | st.lists(
    st.sampled_from(
        [
            b"--b\r\n",
            b"--b--\r\n",
            b"content-disposition: form-data; name=",
            b'"audio"',
            b"; filename=",
            b"content-type: ",
            b"\r\n",
            b"\r\n\r\n",
            b"\x00\xff",
            b"\\ud800",
            b"+2AA-",
            b'--b\r\ncontent-disposition: form-data; name="text"\r\n\r\n',
            b'--b\r\ncontent-disposition: form-data; name="format"\r\n\r\n',
        ]
    ),
    max_size=12,
).map(b"".join)


KINDS = (
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "application/json",
    *(
        f"multipart/form-data; boundary=b; charset={charset}"
        for charset in ("none", "undefined", "idna", "utf-7", "unicode_escape", "base64", "utf-16")
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(path=st.sampled_from([*ROUTES, "rpc/text"]), kind=st.sampled_from(KINDS), body=FORMS)
def test_no_form_however_broken_gets_a_server_error(
    http: httpx.Client, path: str, kind: str, body: bytes
) -> None:
    method = ROUTES.get(path, {}).get("method", "POST")
    answer = http.request(method, f"/{path}", content=body, headers={"content-type": kind})
    assert answer.status_code < 500, answer.text


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(name=st.text(max_size=300), key=st.text(max_size=40), value=st.text(max_size=40))
def test_no_name_and_no_query_gets_a_server_error(
    http: httpx.Client, name: str, key: str, value: str
) -> None:
    paths = (f"/rpc/{quote(name, safe='')}", f"/files/{quote(name, safe='')}", f"/{quote(name, safe='')}")
    for path in paths:
        answer = http.post(path, params={key: value}, content=b"x")
        assert answer.status_code < 500, answer.text
