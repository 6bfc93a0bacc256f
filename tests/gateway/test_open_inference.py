"""Triton's own client, and others by hand, against routes that speak the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import trio
from trio.testing import MockClock
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from rpcb_trio import Reply
from rpcb_trio.gateway import GatewayOptions, make_app, read_routes
from rpcb_trio.testing import VirtualExecutor
from tests.gateway.fronts import Started, answered_with, asking, behind, front, one_by_one
from tests.gateway.listening import listening

ROUTES: dict[str, Any] = {
    "iris": {
        "preset": "open-inference",
        "inputs": {"petals": {"datatype": "FP32", "shape": [2]}, "name": {"datatype": "BYTES"}},
        "outputs": {"total": {"datatype": "FP32"}, "label": {"datatype": "BYTES"}},
    },
    "any": {"preset": "open-inference"},
}


def classify(row: dict[str, Any]) -> dict[str, Any]:
    return {"total": sum(row["petals"]), "label": f"é{row['name']}", "petals": row["petals"]}


def back(row: Any) -> Any:
    return row


def tensor(name: str, values: npt.NDArray[Any], datatype: str, *, is_binary: bool = True) -> InferInput:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=is_binary)
    return made


FLOWERS = np.array([[5.0, 1.5], [1.0, 0.25], [2.0, 2.0]], dtype=np.float32)
NAMES = np.array(["a", "ü", ""], dtype=object)


async def with_triton(ask: Callable[[InferenceServerClient], None]) -> None:
    """Have Triton's client ask a gateway over a real connection, in a thread."""

    def run(address: str) -> None:
        client = InferenceServerClient(address)
        try:
            ask(client)
        finally:
            client.close()

    async with listening(ROUTES, iris=one_by_one(classify), any=one_by_one(back)) as gateway:
        await trio.to_thread.run_sync(run, gateway.url.removeprefix("http://"))


async def test_triton_s_client_finds_server_and_model_and_gets_a_row_for_each_row_in_json_and_in_binary() -> (
    None
):
    def ask(client: InferenceServerClient) -> None:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("iris")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("iris") == {
            "name": "iris",
            "platform": "rpcb_trio",
            "inputs": [
                {"name": "petals", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "name", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [
                {"name": "total", "datatype": "FP32", "shape": [-1]},
                {"name": "label", "datatype": "BYTES", "shape": [-1]},
            ],
        }
        for sends, takes in ((True, True), (True, False), (False, True), (False, False)):
            inputs = [
                tensor("petals", FLOWERS, "FP32", is_binary=sends),
                tensor("name", NAMES, "BYTES", is_binary=sends),
            ]
            outputs = [InferRequestedOutput(name, binary_data=takes) for name in ("label", "total")]
            answer = client.infer("iris", inputs, outputs=outputs, request_id="7")
            assert answer.as_numpy("total").tolist() == [6.5, 1.25, 4.0]
            labels = answer.as_numpy("label").tolist()
            assert [each if isinstance(each, str) else each.decode() for each in labels] == ["éa", "éü", "é"]
            assert answer.get_response()["id"] == "7"
            assert [each["name"] for each in answer.get_response()["outputs"]] == ["label", "total"]

    await with_triton(ask)


async def test_of_a_model_that_nobody_describes_any_tensor_is_taken_and_input_is_the_item_itself() -> None:
    def ask(client: InferenceServerClient) -> None:
        numbers = np.arange(12, dtype=np.int64).reshape(2, 3, 2)
        assert (
            client.infer("any", [tensor("input", numbers, "INT64")]).as_numpy("output").tolist()
            == numbers.tolist()
        )
        truths = np.array([[True, False], [False, False]])
        half = np.array([0.5, -2.0], dtype=np.float16)
        answer = client.infer("any", [tensor("a", truths, "BOOL"), tensor("b", half, "FP16")])
        assert (answer.as_numpy("a").tolist(), answer.as_numpy("b").tolist()) == (
            truths.tolist(),
            half.tolist(),
        )

    await with_triton(ask)


async def test_triton_s_client_raises_its_own_error_that_says_what_to_send() -> None:
    def ask(client: InferenceServerClient) -> None:
        names = tensor("name", NAMES, "BYTES")
        for wrong, told in (
            (
                [tensor("petals", np.zeros((3, 5), np.float32), "FP32"), names],
                r"its shape is \[3, 5\]; send \[-1, 2\]",
            ),
            (
                [tensor("petals", np.zeros((3, 2), np.float64), "FP64"), names],
                "its datatype is FP64; send FP32",
            ),
            ([names], "petals: it is missing"),
            ([tensor("petals", FLOWERS[:2], "FP32"), names], "differ in their first dimension"),
        ):
            with pytest.raises(InferenceServerException, match=told) as raised:
                client.infer("iris", wrong)
            assert raised.value.status() == "400"
        with pytest.raises(
            InferenceServerException, match="there is no /v2/models/iris/versions/2"
        ) as raised:
            client.get_model_metadata("iris", "2")
        assert raised.value.status() == "404"

    await with_triton(ask)


async def test_the_rows_of_a_request_are_batched(autojump_clock: MockClock) -> None:
    batches: list[int] = []

    def infer(bodies: list[bytes]) -> list[bytes]:
        batches.append(len(bodies))
        return bodies

    slow = Started(infer, {"executors": [VirtualExecutor(infer, lambda _: 0.25)]})
    rows = {"name": "input", "shape": [40], "datatype": "INT64", "data": [*range(40)]}
    async with front({"any": ROUTES["any"]}, any=slow) as gateway:
        answer = await gateway.http.post("/v2/models/any/infer", json={"inputs": [rows]})
    assert answer.json()["outputs"] == [{**rows, "name": "output"}]
    assert (sum(batches), max(batches) > 1) == (40, True)


PETALS = {"name": "petals", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
NAME = {"name": "name", "shape": [1], "datatype": "BYTES", "data": ["a"]}
MANY = NAME | {"shape": [2049], "data": ["a"] * 2049}
BINARY = {"binary_data_size": 8}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "missing required field `inputs`"),
        ({"inputs": []}, "it has no inputs"),
        ({"inputs": [PETALS | {"shape": [0, 2]}]}, "each of at least 1"),
        ({"inputs": [PETALS | {"shape": []}]}, "give it one to 8 dimensions"),
        ({"inputs": [PETALS | {"shape": [1] * 9}]}, "give it one to 8 dimensions"),
        ({"inputs": [PETALS | {"datatype": "FP8"}]}, "there is no datatype 'FP8' here"),
        ({"inputs": [PETALS | {"data": [1]}]}, "its data has the shape [1], and not [1, 2]"),
        ({"inputs": [PETALS | {"data": [[1], [2]]}]}, "its data has the shape [2, 1], and not [1, 2]"),
        ({"inputs": [PETALS | {"data": [[1, 2], [3]]}]}, "its lists have several lengths"),
        ({"inputs": [PETALS | {"data": ["1", "2"]}]}, "its data has values that are no FP32"),
        ({"inputs": [PETALS | {"data": None}]}, "it has no data"),
        ({"inputs": [PETALS | {"parameters": BINARY}, NAME]}, "binary_data_size is 8, and 0 bytes are left"),
        ({"inputs": [PETALS, PETALS]}, "comes twice"),
        ({"inputs": [PETALS | {"name": "leaves"}]}, "leaves: it is no input of this model"),
        (
            {"inputs": [PETALS | {"data": [1] * 4098, "shape": [2049, 2]}, MANY]},
            "it has 2049 rows; send at most",
        ),
        ({"inputs": [PETALS, NAME], "outputs": [{"name": "color"}]}, "color: it is no output of this model"),
        ({"inputs": [PETALS, NAME], "outputs": [{"name": "total"}] * 2}, "it asks for an output twice"),
        ([], "Expected `object`, got `array`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_that_makes_no_sense_is_told_why(body: Any, told: str) -> None:
    async with front(ROUTES, iris=one_by_one(classify), any=None) as gateway:
        answer = await gateway.http.post("/v2/models/iris/infer", json=body)
    assert (answer.status_code, [*answer.json()]) == (400, ["error"])
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "content", "told"),
    [
        ("x", b"", "inference-header-content-length is x"),
        ("9" * 30, b"", "inference-header-content-length is 9"),
        ("{}", b"", "inference-header-content-length is {}"),
        (None, b"\0" * 7, "binary_data_size is 8, and 7 bytes are left"),
        (None, b"\0" * 9, "1 bytes follow the last tensor"),
    ],
)
async def test_bytes_that_do_not_match_the_json_are_refused(
    length: str | None, content: bytes, told: str
) -> None:
    sent: dict[str, Any] = {name: value for name, value in PETALS.items() if name != "data"}
    head = msgspec.json.encode({"inputs": [NAME, sent | {"parameters": BINARY}]})
    headers = {"inference-header-content-length": length or str(len(head))}
    async with front(ROUTES, iris=one_by_one(classify), any=None) as gateway:
        answer = await gateway.http.post("/v2/models/iris/infer", content=head + content, headers=headers)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


async def infer(reply: Any, model: str = "iris", asked: Any = None, **headers: str) -> httpx.Response:
    """What a client gets where each row has this reply."""
    sent = asked or {"inputs": [PETALS, NAME]}
    outcome = (
        reply if isinstance(reply, Reply) else Reply(body=msgspec.msgpack.encode(reply), headers=headers)
    )
    async with answered_with(outcome, ROUTES) as http:
        return await http.post(f"/v2/models/{model}/infer", json=sent)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ({"total": 1.0}, "the output label: a reply lacks it"),
        ({"total": "1", "label": "a"}, "the output total: it has values that are no FP32"),
        ({"total": [1.0], "label": "a"}, "the output total: its rows have the shape [1], not []"),
        ({"total": [[1.0], 1.0], "label": "a"}, "the output total: its lists have several lengths"),
        ({"total": 1.0, "label": None}, "the output label: it has values that are no BYTES"),
        (Reply(body=b"\xc1"), "the reply is no msgpack"),
    ],
    ids=["lacks", "text", "shape", "ragged", "null", "odd"],
)
async def test_a_reply_that_is_no_tensor_is_the_service_s_fault(reply: Any, told: str) -> None:
    answer = await infer(reply)
    assert answer.status_code == 502
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("invalid", "request", None),
        ("mine", "request", 400),
        ("overloaded", "busy", 503),
        ("infer", "service", 500),
    ],
)
async def test_a_refused_row_fails_the_request_with_its_reason(
    code: str, kind: str, status: int | None
) -> None:
    headers: dict[str, object] = {
        "rpcb-error": code,
        "rpcb-error-kind": kind,
        "rpcb-error-reason": "too short",
    }
    answer = await infer(Reply(body=b"\xc0", headers=headers))
    assert status in (None, answer.status_code)
    assert answer.json() == {"error": "too short"}
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_the_version_that_answered_is_named() -> None:
    answer = await infer({"total": 1.0, "label": "a"}, **{"rpcb-model-version": "7"})
    assert answer.json()["model_version"] == "7"


async def test_outputs_that_nobody_describes_follow_from_the_replies() -> None:
    asked = {"inputs": [{"name": "input", "shape": [1], "datatype": "BOOL", "data": [True]}]}
    reply = {"a": [1, 2.5], "b": "x", "c": True, "d": [[1], [2]]}
    answer = await infer(reply, "any", asked)
    assert answer.json()["outputs"] == [
        {"name": "a", "datatype": "FP64", "shape": [1, 2], "data": [1, 2.5]},
        {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["x"]},
        {"name": "c", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "d", "datatype": "INT64", "shape": [1, 2, 1], "data": [1, 2]},
    ]


async def test_the_server_is_not_ready_while_it_drains_or_has_no_broker() -> None:
    async with front(ROUTES, GatewayOptions(), iris=None, any=None) as gateway:
        gateway.app.state.dispatcher.is_draining = True
        found = [
            await gateway.http.get(path)
            for path in ("/v2/health/ready", "/v2/models/any/ready", "/v2/health/live")
        ]
    assert [each.status_code for each in found] == [503, 503, 200]


class Point(msgspec.Struct):
    x: float


class Picture(msgspec.Struct):
    name: str
    image: list[list[float]]
    raw: bytes = b""
    count: int | None = None


def points(pictures: list[Picture]) -> list[Point]:
    return [Point(sum(map(sum, each.image)) + len(each.raw) + (each.count or 0)) for each in pictures]


def sums(rows: list[np.ndarray]) -> list[float]:
    return [float(each.sum()) for each in rows]


def maps(rows: list[dict[str, list[float]]]) -> list[dict[str, float]]:
    return [{name: sum(values) for name, values in each.items()} for each in rows]


async def test_the_annotations_of_a_service_say_which_tensors_there_are_and_it_takes_them() -> None:
    routes = {"typed_points": ROUTES["any"], "typed_sums": ROUTES["any"]}
    image = {"name": "image", "shape": [2, 1, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    names = {"name": "name", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]}
    raw = {"name": "raw", "shape": [2], "datatype": "BYTES", "data": ["abc", ""]}
    item = {"name": "input", "shape": [1, 2, 2], "datatype": "FP64", "data": [1, 2, 3, 4.5]}
    async with front(routes, typed_points=points, typed_sums=sums) as gateway:
        described = (await gateway.http.get("/v2/models/typed_points")).json()
        answer = await gateway.http.post(
            "/v2/models/typed_points/infer", json={"inputs": [names, image, raw]}
        )
        summed = await gateway.http.post("/v2/models/typed_sums/infer", json={"inputs": [item]})
    assert {each["name"]: (each["datatype"], each["shape"]) for each in described["inputs"]} == {
        "name": ("BYTES", [-1]),
        "image": ("FP64", [-1, -1, -1]),
        "raw": ("BYTES", [-1]),
        "count": ("INT64", [-1]),
    }
    assert described["outputs"] == [{"name": "x", "datatype": "FP64", "shape": [-1]}]
    assert answer.json()["outputs"] == [{"name": "x", "datatype": "FP64", "shape": [2], "data": [6.0, 7.0]}]
    assert summed.json()["outputs"][0]["data"] == [10.5]


async def test_what_a_typed_service_refuses_is_told_with_its_place() -> None:
    ragged = {"name": "image", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    names = {"name": "name", "shape": [1], "datatype": "INT8", "data": [1]}
    async with behind({"typed_points": ROUTES["any"]}, typed_points=points) as gateway:
        app = make_app(
            gateway.client, read_routes({"typed_points": ROUTES["any"]})
        )  # which knows no annotations
        async with app.router.lifespan_context(app), asking(app) as http:
            answer = await http.post("/v2/models/typed_points/infer", json={"inputs": [names, ragged]})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("$.name: Expected `str`, got `int`")


async def test_maps_whose_keys_no_annotation_names_have_the_tensors_that_are_sent() -> None:
    sent = [{"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} for name in ("a", "b")]
    async with front({"typed_maps": ROUTES["any"]}, typed_maps=maps) as gateway:
        described = (await gateway.http.get("/v2/models/typed_maps")).json()
        answer = await gateway.http.post("/v2/models/typed_maps/infer", json={"inputs": sent})
    assert (described["inputs"], described["outputs"]) == ([], [])
    assert {each["name"]: each["data"] for each in answer.json()["outputs"]} == {"a": [3.0], "b": [3.0]}
