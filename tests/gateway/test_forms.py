"""Forms, in each of the ways in which they are sent, and what none of them may cost."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcb_trio._gateway import _forms, _multipart, _uploads
from rpcb_trio._gateway._multipart import Multipart
from rpcb_trio.gateway import Field
from tests.gateway.fronts import ENVELOPE, front, one_by_one

FIELDS: dict[str, Any] = {
    "text": {},
    "beams": {"type": "integer", "default": 1},
    "gain": {"type": "number", "default": 0.5},
    "loud": {"type": "boolean", "default": False},
    "note": {"optional": True},
}
ROUTES: dict[str, Any] = {
    "see": {"queue": "see", "form": FIELDS},
    "hear": {"queue": "see", "form": {"audio": "file", "format": {"default": "wav"}}},
    "face": {
        "queue": "see",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": {}},
    },
    "raw": {"queue": "see"},
}
BACK = one_by_one(lambda body: body)
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\ncontent-disposition: form-data; name="text"\r\n\r\n'


async def see(path: str = "/see", **sent: Any) -> tuple[int, dict[str, Any]]:
    """What is answered to a form: the status, and the JSON."""
    async with front(ROUTES, see=BACK) as gateway:
        answer = await gateway.http.post(path, **sent)
    return answer.status_code, answer.json()


async def test_a_json_object_is_a_form_where_no_field_is_a_file() -> None:
    sent = {"text": "grüß", "beams": 3, "gain": 2, "loud": True, "note": None, "other": [1]}
    whole = {"text": "grüß", "beams": 3, "gain": 2, "loud": True}
    assert await see(json=sent) == (200, whole)
    assert await see(json={**sent, "beams": "3", "gain": "2", "loud": "yes"}) == (200, whole | {"gain": 2.0})
    headers = {"content-type": "application/vnd.x+json; charset=utf-8"}
    assert (await see(content=msgspec.json.encode(sent), headers=headers))[0] == 200


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        (b'{"beams": 1}', 422, "text"),
        (b'{"text": 5}', 422, "text"),
        (b'{"text": ["a"]}', 422, "text"),
        (b'{"text": "a", "beams": true}', 422, "beams"),
        (b'{"text": "a", "beams": 1.5}', 422, "beams"),
        (b'{"text": "a", "beams": 99999999999999999999999}', 422, "beams"),
        (b'{"text": "a", "loud": 1}', 422, "loud"),
        (b"[]", 400, None),
        (b'{"text": "a"', 400, None),
        (b'{"text": "a", "gain": NaN}', 400, None),
        (b'{"text": "\\ud800"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b"", 400, None),
    ],
)
async def test_json_that_is_no_such_form_is_refused_with_the_field_that_is_wrong(
    sent: bytes, status: int, field: str | None
) -> None:
    told = await see(content=sent, headers={"content-type": "application/json"})
    assert (told[0], told[1]["error"], told[1].get("field")) == (status, "form", field)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/hear", "application/json"), ("/see", "text/plain"), ("/see", "application/msgpack"), ("/see", "?")],
)
async def test_a_form_of_another_content_type_is_refused_with_those_that_are_taken(
    path: str, kind: str
) -> None:
    status, problem = await see(path, content=b"x", headers={"content-type": kind})
    assert (status, problem["error"]) == (415, "media-type")
    assert "send it as multipart/form-data" in problem["detail"]


@pytest.mark.parametrize("path", ["/see", "/raw"])
async def test_a_body_that_is_compressed_is_refused_rather_than_computed_as_it_is(path: str) -> None:
    status, problem = await see(path, data={"text": "x"}, headers={"content-encoding": "gzip"})
    assert (status, problem["error"]) == (415, "media-type")


async def test_fields_that_are_no_files_may_stand_in_the_query_which_comes_first() -> None:
    assert await see("/hear?format=mp3&x=1", files={"audio": b"1"}) == (
        200,
        {"audio": "MQ==", "format": "mp3"},
    )
    assert (await see("/see?text=a%20b&beams=2", data={"text": "c"}))[1] == {
        "text": "a b",
        "beams": 2,
        "gain": 0.5,
        "loud": False,
    }
    assert (await see("/hear?audio=x"))[1]["field"] == "audio"
    assert (await see("/see?beams=x", data={"text": "c"}))[1]["field"] == "beams"
    assert (await see("/see?" + "&" * 100, data={"text": "c"}))[0] == 400


@pytest.mark.parametrize("number", ["\uff15", " 5", "5 ", "1_000", "٣", "0x10", "", "+", "--1", "1e3", "5\n"])
async def test_an_integer_is_written_in_plain_digits(number: str) -> None:
    assert (await see(data={"text": "x", "beams": number}))[1]["field"] == "beams"


@pytest.mark.parametrize("number", ["\uff15", " 5", "1_0.5", "nan", "inf", "0x1p3", ".", "1e", "1" * 400])
async def test_a_number_is_written_in_plain_digits(number: str) -> None:
    assert (await see(data={"text": "x", "gain": number}))[1]["field"] == "gain"


async def test_numbers_as_programs_write_them_are_taken() -> None:
    _, told = await see(data={"text": "x", "beams": "-07", "gain": "+1.5E-3"})
    assert (told["beams"], told["gain"]) == (-7, 0.0015)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n--b", b"\r\n--b\r\n", b"\r\n--c--\r\n"])
async def test_a_form_without_its_last_boundary_loses_no_field_in_silence(end: bytes) -> None:
    status, problem = await see(content=HEAD + b"hello" + end, headers=MULTIPART)
    assert (status, problem["error"]) == (400, "form")
    assert (await see(content=HEAD + b"hello\r\n--b--", headers=MULTIPART))[1]["text"] == "hello"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (HEAD + b"\r\n--bX" * 1000, "where no part begins"),
        (HEAD + b"\r\n--b-X" * 1000, "where no part begins"),
        (HEAD + b"\r\n--b" + b" " * 10_000, "where no part begins"),
        ((HEAD + b"\r\n") * 100, "more than 64 parts"),
        (b"\r\n--b\r\n" * 100, "more than 64 parts"),
        (HEAD + b"x" * (2**20 + 1) + b"\r\n--b--", "send it as a file"),
        (b"--b\r\n" + b"a: b\r\n" * 100, "not as its content type says"),
        (b"--b\r\na: " + b"b" * 10_000, "not as its content type says"),
        (b"--b\r\n\r\nx\r\n--b--", "has no name"),
    ],
)
async def test_a_form_of_many_parts_or_odd_boundaries_is_refused_before_it_costs_anything(
    body: bytes, why: str
) -> None:
    status, problem = await see(content=body, headers=MULTIPART)
    assert status == 400
    assert why in problem["detail"]


@pytest.mark.parametrize("piece", [b"&", b"a&", b"a=&", b"%41="])
async def test_a_form_without_files_has_a_bound_of_its_own(piece: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await see(content=piece * 100 + b"&" * 100, headers=headers))[0] == 400
    large = piece * (_forms.LONGEST_TEXTS // len(piece) + 1)
    assert (await see(content=large, headers=headers))[0] == 413
    assert (await see(content=large, headers={"content-type": "application/json"}))[0] == 413


async def test_a_charset_that_takes_more_than_its_length_to_be_read_is_taken_for_none() -> None:
    headers = {"content-type": "multipart/form-data; boundary=b; charset=punycode"}
    assert (await see(content=HEAD + b"bcher-kva\r\n--b--", headers=headers))[1]["text"] == "bcher-kva"


@pytest.mark.parametrize("path", ["/see", "/hear", "/raw"])
async def test_a_body_in_more_pieces_than_its_size_explains_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_uploads, "FREE_PIECES", 100)

    async def tiny() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(200):
            yield b"x"

    status, problem = await see(path, content=tiny(), headers=MULTIPART)
    assert (status, problem["error"]) == (400, "pieces")


async def test_a_form_that_comes_byte_by_byte_is_read_as_if_it_had_come_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_multipart, "SMALLEST_PIECE", 1)
    body = HEAD + b"\r\n--\r\n-b\r\n--\r\n--b\r\n" + HEAD.removeprefix(b"--b\r\n") + b"2\r\n--b--"

    async def bytewise() -> AsyncIterator[bytes]:
        for each in body:
            yield bytes([each])

    assert (await see(content=bytewise(), headers=MULTIPART))[1]["text"] == "\r\n--\r\n-b\r\n--"


CONTENTS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"boundar", b"\x00", b"a"]), max_size=12
).map(b"".join)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=4), sizes=st.lists(st.integers(1, 30), min_size=1))
def test_however_a_form_is_cut_into_pieces_its_files_are_what_was_sent(
    contents: list[bytes], sizes: list[int]
) -> None:
    head = b'\r\ncontent-disposition: form-data; name="%d"; filename="x"\r\n\r\n'
    parts = (b"--boundary" + head % number + content + b"\r\n" for number, content in enumerate(contents))
    body = b"".join(parts) + b"--boundary--\r\n"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_multipart, "SMALLEST_PIECE", 1)
        with Multipart("multipart/form-data; boundary=boundary") as form:
            for size in itertools.cycle(sizes):
                if not body:
                    break
                form.write(body[:size])
                body = body[size:]
            form.finish()
            fields = {str(number): Field(type="file") for number in range(len(contents))}
            assert list(_forms.of_multipart(form, fields).values()) == contents


async def test_a_form_that_can_hold_no_file_is_no_such_form_to_the_ancestor_s_clients() -> None:
    unknown = {"status": 500, "message": "程序内部未知错误", "data": None}
    assert await see("/face") == (200, unknown)
    assert await see("/face", data={"format": "wav"}) == (200, unknown)
    assert await see("/face", json={"format": "wav"}) == (200, unknown)
