"""What follows from the annotations of a service: its bodies, its errors, and what it is given."""

# No `from __future__ import annotations`: most services are written without it.

import functools
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from trio.testing import MockClock

from rpcb_trio import (
    Failure,
    FixedPolicy,
    Outcome,
    Reply,
    RequestError,
    RequestInfo,
    SettingError,
    Success,
)
from rpcb_trio._messages import caller_hash
from rpcb_trio._service import bind
from rpcb_trio.errors import InvalidRequest, without_path
from rpcb_trio.testing import push_batch, served
from tests.scenarios import steady

JSON, MSGPACK = "application/json", "application/msgpack"


class Text(msgspec.Struct):
    text: str
    top: Annotated[int, msgspec.Meta(ge=1)] = 1


class Label(msgspec.Struct):
    label: str
    score: float


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    a: int = 0


@dataclass
class Point:
    x: float
    tags: list[str]


class Options(TypedDict):
    beam: int


class Pair(NamedTuple):
    left: int
    right: str


class Order(pydantic.BaseModel):
    count: int = pydantic.Field(gt=0, alias="n")


@pydantic.dataclasses.dataclass
class Counted:
    n: int = pydantic.Field(gt=0)


class Framed(msgspec.Struct):
    frame: NDArray[np.int16]


class Holding(msgspec.Struct):
    order: Order


def classify(texts: list[Text]) -> list[Label]:
    return [Label(each.text.upper(), len(each.text) / 2) for each in texts]


def same(items: list[Any]) -> Any:
    return items


def of(kind: Any) -> Callable[[list[Any]], Any]:
    """A service that returns what it is given, with these annotations."""

    def echo(items: list[Any]) -> list[Any]:
        return items

    echo.__annotations__ = {"items": list[kind], "return": list[kind]}
    return echo


def read(reply: Reply) -> Any:
    return (msgspec.msgpack if reply.content_type == MSGPACK else msgspec.json).decode(reply.body)


async def test_a_function_of_annotated_types_is_a_service_of_json(autojump_clock: MockClock) -> None:
    (reply,) = await push_batch(classify, [b'{"text": "abc"}'])
    assert (reply.body, reply.content_type, reply.error) == (b'{"label":"ABC","score":1.5}', JSON, None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(Text, {"text": "a", "top": 2}, id="struct"),
        pytest.param(Point, {"x": 0.5, "tags": ["a"]}, id="dataclass"),
        pytest.param(Options, {"beam": 4}, id="typed dict"),
        pytest.param(Pair, [1, "a"], id="named tuple"),
        pytest.param(Order, {"n": 3}, id="pydantic"),
        pytest.param(Counted, {"n": 3}, id="pydantic dataclass"),
        pytest.param(list[Order], [{"n": 3}, {"n": 4}], id="list of pydantic"),
        pytest.param(Order | None, None, id="optional pydantic"),
        pytest.param(Holding, {"order": {"n": 3}}, id="pydantic in a struct"),
        pytest.param(str, "ä", id="str"),
        pytest.param(int, -5, id="int"),
        pytest.param(float, 0.25, id="float"),
        pytest.param(bool, True, id="bool"),
        pytest.param(Text | None, None, id="optional"),
        pytest.param(str | int, 7, id="union"),
        pytest.param(Literal["a", "b"], "b", id="literal"),
        pytest.param(dict[str, list[int]], {"a": [1, 2]}, id="generic"),
        pytest.param(dict[str, object], {"a": [1, "b", None]}, id="object"),
        pytest.param(Annotated[str, msgspec.Meta(max_length=3)], "abc", id="annotated"),
        pytest.param(NDArray[np.float32], [[1.0, 2.5]], id="array"),
        pytest.param(np.ndarray, [1, 2], id="bare array"),
        pytest.param(Framed, {"frame": [1, -2]}, id="array in a struct"),
    ],
)
async def test_a_value_of_each_kind_goes_both_ways_in_both_codings(
    kind: Any, value: Any, autojump_clock: MockClock
) -> None:
    (reply,) = await push_batch(of(kind), [msgspec.json.encode(value)])
    assert (read(reply), reply.error, reply.content_type) == (value, None, JSON)
    bound = bind(of(kind))
    assert bound.typed is not None
    item = bound.typed.read(msgspec.msgpack.encode(value), MSGPACK)
    written = bound.typed.write(Success(bound.infer([item])[0]), MSGPACK)
    assert msgspec.msgpack.decode(written) == value
    schemas = bound.typed.schemas()
    assert schemas.request is not None
    assert schemas.reply is not None


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/octet-stream", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/x-www-form-urlencoded", JSON),
        ("application/msgpack", MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("Application/VND.msgpack ; version=1", MSGPACK),
        ("application/vnd.acme+msgpack", MSGPACK),
    ],
)
async def test_the_content_type_of_a_request_says_its_coding_and_that_of_its_reply(
    content_type: str, expected: str, autojump_clock: MockClock
) -> None:
    coding = msgspec.msgpack if expected == MSGPACK else msgspec.json
    async with served(classify) as worker:
        good, bad = [
            await worker.client.call(
                coding.encode(value), queue="classify", timeout=9.0, content_type=content_type
            )
            for value in ({"text": "ab"}, {"text": 5})
        ]
    assert read(good) == {"label": "AB", "score": 1.0}
    assert read(bad)["error"]["path"] == "$.text"
    assert {good.content_type, bad.content_type} == {expected}


@pytest.mark.parametrize(
    ("service", "body", "code", "path", "message"),
    [
        pytest.param(classify, b'{"text": 1}', "invalid", "$.text", "Expected `str`", id="type"),
        pytest.param(classify, b"{}", "invalid", "$.text", "missing required field `text`", id="missing"),
        pytest.param(classify, b'{"text": "a", "top": 0}', "invalid", "$.top", ">= 1", id="bound"),
        pytest.param(classify, b"[]", "invalid", "$", "Expected `object`", id="root"),
        pytest.param(of(Point), b'{"x": 1, "tags": ["a", 1]}', "invalid", "$.tags[1]", "`str`", id="deep"),
        pytest.param(of(dict[int, str]), b'{"a": ""}', "invalid", "key in $", "`int`", id="key"),
        pytest.param(of(Order), b'{"n": 0}', "invalid", "$.n", "greater than 0", id="pydantic"),
        pytest.param(of(Counted), b'{"n": 0}', "invalid", "$.n", "greater than 0", id="its dataclass"),
        pytest.param(of(list[Order]), b'[{"n": 1}, {}]', "invalid", "$[1].n", "required", id="its missing"),
        pytest.param(of(Holding), b'{"order": {"n": ""}}', "invalid", "$.order", "integer", id="in a struct"),
        pytest.param(of(NDArray[np.float32]), b'["a"]', "invalid", "$", "array of numbers", id="no numbers"),
        pytest.param(of(np.ndarray), b'["a"]', "invalid", "$", "numbers", id="texts in an array"),
        pytest.param(of(np.ndarray), b"[[1], [1, 2]]", "invalid", "$", "equal length", id="ragged"),
        pytest.param(classify, b"{", "decode", None, "no JSON", id="cut short"),
        pytest.param(classify, b"", "decode", None, "no JSON", id="empty"),
        pytest.param(classify, b'{"text": "\xff"}', "decode", None, "no JSON", id="no utf-8"),
        pytest.param(of(list[Any]), b"[" * 5000 + b"]" * 5000, "decode", None, "too deeply", id="nested"),
        pytest.param(of(Order), b"{", "decode", None, "no JSON", id="pydantic cut short"),
    ],
)
@pytest.mark.usefixtures("autojump_clock")
async def test_what_does_not_fit_is_refused_with_the_path_of_what_is_wrong(
    service: Any, body: bytes, code: str, path: str | None, message: str
) -> None:
    (reply,) = await push_batch(service, [body])
    error = read(reply)["error"]
    assert (error["code"], error.get("path")) == (code, path)
    assert message in error["message"]
    assert (reply.error, reply.error_kind, reply.content_type) == (code, "request", JSON)
    where = "" if path in {None, "$"} else f"{path}: "
    assert reply.error_reason == f"{where}{error['message']}"


LONG = b"x" * 50_000


@pytest.mark.parametrize(
    ("service", "body"),
    [
        pytest.param(of(Strict), b'{"%b": 1}' % LONG, id="unknown field"),
        pytest.param(of(Literal["a"]), b'"%b"' % LONG, id="value"),
        pytest.param(of(dict[str, Order]), b'{"%b": {"n": 0}}' % LONG, id="key in pydantic's path"),
        pytest.param(of(list[Any]), b"[" + LONG, id="no json"),
    ],
)
@pytest.mark.usefixtures("autojump_clock")
async def test_a_refusal_never_quotes_a_long_body(service: Any, body: bytes) -> None:
    (reply,) = await push_batch(service, [body])
    assert reply.error_kind == "request"
    assert len(reply.body) < 2000
    assert reply.error_reason is not None
    assert len(reply.error_reason) < 600


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("$", "it is wrong"),
        ("$.scores[2]", "$.scores[2]: it is wrong"),
        ("$.a\nb", "$.a\\nb: it is wrong"),
        ("$" * 300, f"{'$' * 200}... (100 more characters): it is wrong"),
    ],
    ids=["all of the body", "a place", "control characters", "long"],
)
@pytest.mark.usefixtures("autojump_clock")
async def test_the_path_of_what_is_wrong_is_in_the_line_of_the_log_and_in_the_header_and_is_bounded(
    path: str, told: str
) -> None:
    class Refusing:
        def decode(self, body: bytes) -> bytes:
            raise InvalidRequest(body.decode(), path)

        def infer(self, items: list[bytes]) -> list[bytes]:
            return items

    (reply,) = await push_batch(Refusing(), [b"it is wrong"])
    assert (reply.error, reply.error_reason) == ("invalid", told)
    assert InvalidRequest("it is wrong", path).in_full == told


def test_an_error_with_a_path_is_the_same_error_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(InvalidRequest("it is wrong", "$.text")))  # noqa: S301 - we made it
    assert (str(error), without_path(error), error.path) == ("$.text: it is wrong", "it is wrong", "$.text")


class Listed(InvalidRequest):
    code = "listed"

    def __init__(self) -> None:
        super().__init__("it is listed", "$.text")
        self.message = {"of": "its own"}


class Worded(Listed):
    def __str__(self) -> str:
        return "in its own words"


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        (Listed, "it is listed", "$.text: it is listed"),
        (Worded, "in its own words", "in its own words"),
    ],
)
@pytest.mark.usefixtures("autojump_clock")
async def test_a_service_s_own_kind_of_invalid_request_may_have_any_attributes_and_text(
    kind: type[Listed], message: str, reason: str
) -> None:
    def refuse(texts: list[str]) -> list[str | Exception]:
        return [kind() for _ in texts]

    (reply,) = await push_batch(refuse, [b'"x"'])
    error = msgspec.json.decode(reply.body)["error"]
    assert error == {"code": "listed", "message": message, "path": "$.text"}
    assert (reply.error, reply.error_reason) == ("listed", reason)


async def test_a_bad_request_of_a_typed_service_harms_no_batch_mate(autojump_clock: MockClock) -> None:
    replies = await push_batch(classify, [b'{"text": "a"}', b'{"text": 1}', b'{"text": "b"}'])
    assert [reply.error for reply in replies] == [None, "invalid", None]


class Refused(RequestError):
    code = "no-such-language"


async def test_an_error_among_the_results_is_told_in_the_same_shape(autojump_clock: MockClock) -> None:
    def translate(texts: list[str]) -> list[str | Exception]:
        return [Refused(f"{text} \udcff is none") if text == "xx" else text for text in texts]

    good, bad = await push_batch(translate, [b'"en"', b'"xx"'])
    assert good.body == b'"en"'
    assert read(bad) == {"error": {"code": "no-such-language", "message": "xx \\udcff is none"}}


@steady
@given(st.binary(max_size=60), st.sampled_from([JSON, MSGPACK]))
def test_any_body_is_read_or_refused_as_the_requests_fault(body: bytes, content_type: str) -> None:
    for kind in (Text, Point, Order, NDArray[np.float64], dict[str, Any]):
        bound = bind(of(kind))
        assert bound.typed is not None
        try:
            bound.typed.read(body, content_type)
        except RequestError as error:
            assert error.code in {"invalid", "decode"}  # noqa: PT017 - either is right


ROWS = [b"[1, 2]", b"[1, 2, 3]", b"[3, 4]"]


def sums(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    assert rows.ndim == 2
    return rows.sum(axis=1)  # type: ignore[no-any-return] # numpy does not tell


def totals(rows: np.ndarray, requests: list[RequestInfo]) -> list[int]:
    assert len(rows) == len(requests)
    return list(rows.sum(axis=1))


@pytest.mark.parametrize("service", [sums, totals])
async def test_a_batch_of_arrays_is_one_array_for_each_shape(service: Any, autojump_clock: MockClock) -> None:
    assert [read(reply) for reply in await push_batch(service, ROWS)] == [3, 6, 7]


def short(rows: NDArray[np.float32]) -> list[float]:
    return [0.0]


async def test_a_wrong_number_of_results_for_one_shape_is_told_and_the_others_are_answered(
    autojump_clock: MockClock,
) -> None:
    replies = await push_batch(short, [b"[1]", b"[2]", b"[1, 2]"])
    assert [reply.error for reply in replies] == [None, None, None], "each alone is right"


def test_a_number_of_a_library_may_be_a_result() -> None:
    def means(rows: list[list[float]]) -> list[np.float32]:
        return [np.float32(np.mean(row)) for row in rows]

    bound = bind(means)
    assert bound.typed is not None
    assert bound.typed.write(Success(bound.infer([[1.0, 2.0]])[0]), JSON) == b"1.5"


@pytest.mark.parametrize(
    "results",
    [
        pytest.param(np.arange(4).reshape(2, 2), id="array"),
        pytest.param([np.array([0, 1]), np.array([2, 3])], id="list of them"),
        pytest.param(([0, np.int64(1)], [np.int64(2), 3]), id="scalars inside"),
    ],
)
async def test_an_array_is_taken_apart_for_each_item(results: Any, autojump_clock: MockClock) -> None:
    def predict(items: list[str]) -> Any:
        return results

    assert [read(reply) for reply in await push_batch(predict, [b'"a"', b'"b"'])] == [[0, 1], [2, 3]]


class Typed:
    """Annotations alone, on a method; with the optional hooks."""

    def __init__(self) -> None:
        self.device = "none"

    def warm_up(self) -> None:
        self.device = "warm"

    def cost(self, item: Text) -> float:
        return len(item.text)

    def infer(self, texts: Sequence[Text]) -> tuple[Label, ...]:
        return tuple(Label(each.text, 1.0) for each in texts)


class OwnDecode(Typed):
    def decode(self, body: bytes) -> Text:
        return Text(body.decode())


class OwnEncode(Typed):
    content_type = "text/plain"

    def encode(self, outcome: Outcome[Label]) -> bytes:
        match outcome:
            case Success(value=label):
                return label.label.encode()
            case Failure(error=error):
                return error.code.encode()


class Calling:
    def __call__(self, texts: Iterable[Text]) -> list[Label]:
        return [Label(each.text, 1.0) for each in texts]


def shifted(by: float, texts: list[Text]) -> list[Label]:
    return [Label(each.text, by) for each in texts]


@pytest.mark.parametrize(
    ("service", "body", "replied"),
    [
        pytest.param(Typed, b'{"text":"a"}', b'{"label":"a","score":1.0}', id="class"),
        pytest.param(Typed(), b'{"text":"a"}', b'{"label":"a","score":1.0}', id="object"),
        pytest.param(Typed().infer, b'{"text":"a"}', b'{"label":"a","score":1.0}', id="bound method"),
        pytest.param(Calling(), b'{"text":"a"}', b'{"label":"a","score":1.0}', id="callable object"),
        pytest.param(Calling, b'{"text":"a"}', b'{"label":"a","score":1.0}', id="class of one"),
        pytest.param(
            functools.partial(shifted, 0.5), b'{"text":"a"}', b'{"label":"a","score":0.5}', id="partial"
        ),
        pytest.param(
            functools.partial(shifted, by=0.5), b'{"text":"a"}', b'{"label":"a","score":0.5}', id="by name"
        ),
        pytest.param(OwnDecode, b"a", b'{"label":"a","score":1.0}', id="own decode"),
        pytest.param(OwnEncode, b'{"text":"a"}', b"a", id="own encode"),
    ],
)
async def test_whatever_can_be_called_can_be_typed(
    service: Any, body: bytes, replied: bytes, autojump_clock: MockClock
) -> None:
    if functools.partial is type(service) and service.keywords:
        service = functools.partial(lambda function, texts: function(texts=texts), service)
        service.func.__annotations__ = {"texts": list[Text], "return": list[Label]}
    (reply,) = await push_batch(service, [body])
    assert (reply.error, reply.body) == (None, replied)


async def test_the_hooks_of_a_typed_object_are_called_as_ever(autojump_clock: MockClock) -> None:
    async with served(Typed()) as worker:
        await worker.call(b'{"text": "abc"}')
    assert [member.cost for batch in worker.recorder.batches for member in batch.members] == [3.0]


def shout(bodies: list[bytes]) -> list[bytes]:
    return [body.upper() for body in bodies]


def pairs(bodies: Sequence[bytes]) -> Sequence[bytes | Exception]:
    return bodies


@pytest.mark.parametrize("service", [shout, pairs, same, lambda bodies: bodies, max])
def test_what_is_of_bytes_or_says_nothing_stays_as_it_is(service: Any) -> None:
    bound = bind(service)
    assert (bound.infer, bound.typed) == (service, None)


async def test_a_batch_that_may_be_left_out_is_a_batch(autojump_clock: MockClock) -> None:
    def lengths(texts: list[str] | None = None) -> Annotated[list[int], "one for each"]:
        return [len(text) for text in texts or []]

    assert [reply.body for reply in await push_batch(lengths, [b'"ab"'])] == [b"2"]


async def test_bytes_go_in_or_out_as_they_are_beside_a_type(autojump_clock: MockClock) -> None:
    def measure(bodies: list[bytes]) -> list[int]:
        return [len(body) for body in bodies]

    def draw(texts: list[Text]) -> list[bytes]:
        return [each.text.encode() for each in texts]

    (measured,) = await push_batch(measure, [b"\xff\xff"])
    drawn, refused = await push_batch(draw, [b'{"text": "a"}', b"1"])
    assert (measured.body, measured.content_type) == (b"2", JSON)
    assert (drawn.body, drawn.content_type) == (b"a", "application/octet-stream")
    assert read(refused)["error"]["code"] == "invalid"


async def test_a_hook_that_is_none_is_left_to_the_annotations(autojump_clock: MockClock) -> None:
    (reply,) = await push_batch(type("Without", (OwnDecode,), {"decode": None}), [b'{"text":"a"}'])
    assert reply.body == b'{"label":"a","score":1.0}'


async def test_an_object_of_bytes_needs_no_hooks_either(autojump_clock: MockClock) -> None:
    class Shouting:
        def infer(self, bodies: list[bytes]) -> list[bytes]:
            return shout(bodies)

    assert [reply.body for reply in await push_batch(Shouting(), [b"a"])] == [b"A"]


async def test_a_service_is_told_what_is_known_of_each_request(autojump_clock: MockClock) -> None:
    def tell(texts: list[str], requests: Sequence[RequestInfo]) -> list[dict[str, Any]]:
        return [{"of": each, "item": text} for text, each in zip(texts, requests, strict=True)]

    async with served(tell, batching=FixedPolicy(max_wait=1.0)) as worker:
        reply = await worker.client.call(b'"a"', queue="tell", timeout=5.0, headers={"language": "de"})
    [request] = worker.recorder.received
    assert request.reply_to is not None
    assert read(reply)["item"] == "a"
    told = msgspec.convert(read(reply)["of"], RequestInfo)
    assert told.headers["language"] == "de"
    assert (told.seconds_left, told.caller) == (4.0, caller_hash(request.reply_to))
    assert told.correlation_id == request.correlation_id


async def test_a_service_with_hooks_is_told_it_too(autojump_clock: MockClock) -> None:
    class Telling(OwnEncode, OwnDecode):
        def infer(self, items: list[Text], requests: list[RequestInfo]) -> list[Label]:  # type: ignore[override] # it asks for more
            return [
                Label(f"{each.text} {info.caller}", 0.0) for each, info in zip(items, requests, strict=True)
            ]

    (reply,) = await push_batch(Telling(), [b"a"])
    assert reply.body == b"a None"


class Plain:
    """No type that a body can hold."""


def no_batch(text: Text) -> list[Label]: ...  # type: ignore[empty-body] # it is never called


def no_results(texts: list[Text]) -> Label: ...  # type: ignore[empty-body] # likewise


def nothing(texts: list[Text]) -> None: ...


def custom(items: list[Plain]) -> list[int]: ...  # type: ignore[empty-body] # likewise


def custom_result(items: list[int]) -> list[dict[str, Plain]]: ...  # type: ignore[empty-body] # likewise


def untagged(items: list[Text | Label]) -> list[int]: ...  # type: ignore[empty-body] # likewise


def fixed(items: tuple[Text, Text]) -> list[int]: ...  # type: ignore[empty-body] # likewise


def unknown(items: "list[Nowhere]") -> list[int]: ...  # type: ignore[name-defined, empty-body] # noqa: F821 - is the point


def positional(items: list[int], requests: list[RequestInfo], /) -> list[int]: ...  # type: ignore[empty-body] # likewise


class Unsaid:
    def infer(self, items: list[Text]) -> list[Label]: ...  # type: ignore[empty-body] # likewise

    decode = None


@pytest.mark.parametrize(
    ("service", "told"),
    [
        pytest.param(no_batch, r"no_batch: its parameter text is .* Text, .*; .* list\[Text\]$", id="item"),
        pytest.param(no_results, r"no_results: its result is .* list\[.*Label\]$", id="result"),
        pytest.param(nothing, r"nothing: its result is None; let it return one result", id="none"),
        pytest.param(
            custom, r"custom: its parameter items is of .*Plain.*not supported.* decode of", id="class"
        ),
        pytest.param(
            custom_result, r"custom_result: its result .*Plain.* encode of your own$", id="in a dict"
        ),
        pytest.param(untagged, r"untagged: .*must be tagged", id="untagged union"),
        pytest.param(fixed, r"fixed: its parameter items is annotated as tuple.*no batch", id="fixed tuple"),
        pytest.param(unknown, r"unknown: its annotations can't be read \(NameError: .*Nowhere", id="unknown"),
        pytest.param(positional, r"positional: its parameter requests can't be given by name", id="by place"),
    ],
)
def test_what_no_body_can_hold_is_refused_at_the_start_with_the_remedy(service: Any, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        bind(service)


def test_what_a_service_takes_and_returns_is_described_for_openapi() -> None:
    bound = bind(classify)
    assert bound.typed is not None
    schemas = bound.typed.schemas("#/components/schemas/classify.{name}")
    assert schemas.request == {"$ref": "#/components/schemas/classify.Text"}
    assert schemas.reply == {"$ref": "#/components/schemas/classify.Label"}
    assert schemas.components["Text"]["required"] == ["text"]


async def test_an_error_without_encode_has_the_typed_shape_too(autojump_clock: MockClock) -> None:
    def broken(items: list[int]) -> list[Any]:
        return [object() for _ in items]

    (reply,) = await push_batch(broken, [b"1"])
    assert (read(reply)["error"]["code"], reply.error) == ("encode", "encode")
