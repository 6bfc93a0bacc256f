"""`preset`: what goes with it, where its routes are, and how they are told of."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rpcb_trio import MemoryBroker, SettingError, open_client
from rpcb_trio._commands._settings._gateway import GatewaySettings
from rpcb_trio._commands.gateway._route_tables import route_tables
from rpcb_trio.gateway import make_app, read_routes
from tests.gateway.fronts import asking, front
from tests.metrics.samples import samples

VECTORS: dict[str, Any] = {"preset": "openai-embeddings"}
TENSORS: dict[str, Any] = {"preset": "open-inference"}


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        (
            {"x": {"preset": "openai-embedding"}},
            "there is no preset openai-embedding; did you mean openai-embeddings",
        ),
        (
            {"x": {"preset": "cohere"}},
            "there is no preset cohere; there are openai-transcriptions, openai-embeddings",
        ),
        ({"x": VECTORS | {"form": {"text": {}}}}, "form is what preset = openai-embeddings says already"),
        (
            {"x": VECTORS | {"path": "/v1/vectors"}},
            "path is that of preset = openai-embeddings, /v1/embeddings",
        ),
        ({"x": VECTORS | {"method": "PUT"}}, "method of preset = openai-embeddings is POST"),
        (
            {"x": VECTORS | {"queue": "a", "routing_key": "b"}},
            "give either queue, or exchange and routing_key",
        ),
        (
            {"x": VECTORS | {"inputs": {"a": {}}}},
            "inputs and outputs are tensors; they go with preset = open-inf",
        ),
        ({"a/b": TENSORS}, "the name of a model is a part of its path"),
        ({"x": TENSORS | {"body": "bytes"}}, "body and reply hold tensors"),
        (
            {"x": TENSORS | {"inputs": {"a": {"datatype": "FLOAT"}}}},
            "inputs.a: there is no datatype FLOAT; there is",
        ),
        (
            {"x": TENSORS | {"outputs": {"a": {"shape": [0]}}}},
            "outputs.a: shape has 0; a dimension is at least 1",
        ),
        ({"x": TENSORS | {"inputs": {"a": {"shapes": [1]}}}}, "there is no key shapes; did you mean shape?"),
        (
            {"x": VECTORS, "y": {"queue": "q", "path": "/v1/embeddings"}},
            "path /v1/embeddings is that of [routes.x]",
        ),
        (
            {"x": VECTORS, "y": {"queue": "q", "path": "/v1/models"}},
            "path /v1/models is that of preset = openai-emb",
        ),
        (
            {"x": TENSORS, "y": {"queue": "q", "path": "/v2/health/live"}},
            "is that of preset = open-inference",
        ),
    ],
)
def test_what_does_not_go_with_a_preset_is_told_in_a_line(tables: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_routes(tables)
    assert complaint in str(raised.value)


def test_a_route_of_a_preset_is_asked_on_the_api_s_path_and_its_queue_is_its_name() -> None:
    tables: dict[str, Any] = {
        "a": VECTORS,
        "b": VECTORS | {"queue": "q"},
        "c": VECTORS | {"routing_key": "k", "exchange": "e"},
    }
    routes = read_routes(tables)
    assert {each.path for each in routes.values()} == {"/v1/embeddings"}
    assert [(each.queue, each.routing_key) for each in routes.values()] == [
        ("a", None),
        ("q", None),
        (None, "k"),
    ]


def test_without_a_preset_its_paths_are_free() -> None:
    assert read_routes({"x": {"queue": "q", "path": "/v1/models"}})["x"].path == "/v1/models"


def test_the_flag_adds_a_preset_to_the_table_of_its_name_or_makes_one() -> None:
    settings = GatewaySettings(preset=("a=open-inference", "b=openai-embeddings"))
    written = {"a": {"queue": "q"}, "c": {"queue": "r"}}
    assert route_tables(written, settings) == {
        "a": {"queue": "q", "preset": "open-inference"},
        "b": {"preset": "openai-embeddings"},
        "c": {"queue": "r"},
    }
    assert written["a"] == {"queue": "q"}
    with pytest.raises(SettingError, match="write it as NAME=PRESET"):
        route_tables({}, GatewaySettings(preset=("asr",)))
    with pytest.raises(SettingError, match="a is open-inference already"):
        route_tables({}, GatewaySettings(preset=("a=open-inference", "a=openai-embeddings")))


def test_a_route_whose_service_runs_in_the_gateway_needs_no_queue() -> None:
    settings = GatewaySettings(serve=("a=m:f", "b=m:f", "c=m:f"))
    written = {"a": {"path": "/x"}, "b": {"queue": "q"}, "d": {}}
    assert route_tables(written, settings) == {
        "a": {"path": "/x", "queue": "a"},
        "b": {"queue": "q"},
        "d": {},
    }
    with pytest.raises(SettingError, match="--serve a=m:g: a is m:f already"):
        route_tables({}, GatewaySettings(serve=("a=m:f", "a=m:g")))


async def test_the_page_leaves_them_to_the_clients_of_their_apis_and_the_document_describes_them() -> None:
    tables: dict[str, Any] = {"x": VECTORS, "y": TENSORS, "z": {"queue": "q"}}
    async with front(tables) as gateway:
        page = (await gateway.http.get("/static/routes.json")).json()
        document = (await gateway.http.get("/openapi.json")).json()
    assert [each["name"] for each in page["routes"]] == ["z"]
    assert set(document["paths"]) >= {
        "/v1/embeddings",
        "/v1/models",
        "/v2/models/y",
        "/v2/models/y/infer",
        "/z",
    }


async def test_metrics_have_one_label_for_each_path_and_none_for_names_that_clients_make_up() -> None:
    registry = CollectorRegistry()
    broker = MemoryBroker()
    async with open_client(broker) as client:
        app = make_app(client, read_routes({"x": VECTORS, "y": VECTORS, "z": TENSORS}), metrics=registry)
        async with app.router.lifespan_context(app), asking(app) as http:
            for model in ("x", "y", "other"):
                await http.post("/v1/embeddings", json={"model": model, "input": "a"})
            for model in ("z", "a", "b"):
                await http.post(f"/v2/models/{model}/infer", json={})
    found = samples(registry, "rpcb_gateway_requests_total")
    assert {dict(labels)["route"] for labels in found} == {"/v1/embeddings", "/v2/models/z/infer"}
