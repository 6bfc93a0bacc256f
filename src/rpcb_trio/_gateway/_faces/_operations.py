"""The paths of presets as an OpenAPI document has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rpcb_trio._gateway._faces._presets import OPENAI, PATHS, of_preset
from rpcb_trio._gateway._forms import JSON, MULTIPART
from rpcb_trio._gateway._responses import BINARY
from rpcb_trio._gateway._routes import Routes
from rpcb_trio._gateway._server_sent import EVENT_STREAM

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def operations(routes: Routes) -> Schema:
    """By path and method, for the presets that routes have."""
    found: Schema = {}
    if models := of_preset(routes, *OPENAI):
        parameter = {"name": "name", "in": "path", "required": True, "schema": _one_of(models)}
        found["/v1/models"] = {"get": _get("models", "The models that OpenAI's clients reach here.", MODELS)}
        found["/v1/models/{name}"] = {
            "get": _get("model", "One of them.", MODEL) | {"parameters": [parameter]}
        }
    if models := of_preset(routes, "openai-transcriptions"):
        found[PATHS["openai-transcriptions"]] = {"post": _transcriptions(models)}
    if models := of_preset(routes, "openai-embeddings"):
        found[PATHS["openai-embeddings"]] = {"post": _embeddings(models)}
    for name, route in of_preset(routes, "open-inference").items():
        found[route.path] = {"post": _inference(name)}
        below = route.path.removesuffix("/infer")
        found[below] = {"get": _told(f"{name}_metadata", f"The tensors of {name}.")}
        found[f"{below}/ready"] = {
            "get": _told(f"{name}_ready", f"Whether requests for {name} get to the broker.")
        }
    return found


def _object(required: Iterable[str] = (), **properties: Schema) -> Schema:
    return {"type": "object", "required": sorted(required), "properties": properties}


def _list_of(each: Schema) -> Schema:
    return {"type": "array", "items": each}


def _one_of(names: Iterable[str]) -> Schema:
    return {"type": "string", "enum": list(names)}


ERROR = _object(
    ("error",),
    error=_object(
        ("message", "type", "param", "code"),
        message=TEXT,
        type=TEXT,
        param={"type": ["string", "null"]},
        code=TEXT,
    ),
)

MODEL = _object(
    ("id", "object", "created", "owned_by"), id=TEXT, object={"const": "model"}, created=COUNT, owned_by=TEXT
)
MODELS = _object(("object", "data"), object={"const": "list"}, data=_list_of(MODEL))

SEGMENT = _object(("id", "start", "end", "text"), id=COUNT, start=NUMBER, end=NUMBER, text=TEXT)
TRANSCRIPT = _object(
    ("text",),
    text=TEXT,
    task=TEXT,
    language=TEXT,
    duration=NUMBER,
    segments=_list_of(SEGMENT),
    usage=_object(type={"const": "duration"}, seconds=NUMBER),
)
VECTOR = _object(
    ("object", "index", "embedding"),
    object={"const": "embedding"},
    index=COUNT,
    embedding={"oneOf": [_list_of({"type": ["number", "null"]}), TEXT]},
)
VECTORS = _object(
    ("object", "data", "model", "usage"),
    object={"const": "list"},
    data=_list_of(VECTOR),
    model=TEXT,
    usage=_object(("prompt_tokens", "total_tokens"), prompt_tokens=COUNT, total_tokens=COUNT),
)


def _get(operation: str, summary: str, schema: Schema) -> Schema:
    return {"operationId": operation, "summary": summary, "responses": _responses({JSON: {"schema": schema}})}


def _responses(content: Schema) -> Schema:
    failure = {"description": "A failure, as OpenAI has it.", "content": {JSON: {"schema": ERROR}}}
    return {"200": {"description": "The answer.", "content": content}, "default": failure}


def _transcriptions(models: Routes) -> Schema:
    form = _object(
        ("file", "model"),
        file={"type": "string", "format": "binary"},
        model=_one_of(models),
        language=TEXT | {"description": "Of the speech, as en."},
        response_format=_one_of(("json", "text", "srt", "verbose_json", "vtt")) | {"default": "json"},
        stream={"type": "boolean", "default": False, "description": "Whether it comes as it is heard."},
    )
    return {
        "operationId": "transcriptions",
        "summary": "What is said in a recording, as OpenAI's clients ask for it.",
        "requestBody": {"required": True, "content": {MULTIPART: {"schema": form}}},
        "responses": _responses(
            {JSON: {"schema": TRANSCRIPT}, "text/plain": {"schema": TEXT}, EVENT_STREAM: {}}
        ),
    }


def _embeddings(models: Routes) -> Schema:
    text = TEXT | {"minLength": 1}
    body = _object(
        ("model", "input"),
        model=_one_of(models),
        input={"oneOf": [text, _list_of(text) | {"minItems": 1}]},
        encoding_format=_one_of(("float", "base64")) | {"default": "float"},
        dimensions=COUNT | {"description": "That of the model, or left out."},
    )
    return {
        "operationId": "embeddings",
        "summary": "Vectors of texts, as OpenAI's clients ask for them; each text is a message of its own.",
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": _responses({JSON: {"schema": VECTORS}}),
    }


TENSOR = _object(
    ("name", "shape", "datatype"),
    name=TEXT,
    shape=_list_of({"type": "integer"}),
    datatype=TEXT,
    data=_list_of({}),
    parameters={"type": "object"},
)
ASKED = _object(
    ("inputs",),
    id=TEXT,
    inputs=_list_of(TENSOR) | {"minItems": 1},
    outputs=_list_of(_object(("name",), name=TEXT, parameters={"type": "object"})),
    parameters={"type": "object"},
)
INFERRED = _object(
    ("model_name", "outputs"), model_name=TEXT, model_version=TEXT, id=TEXT, outputs=_list_of(TENSOR)
)
REFUSED = _object(("error",), error=TEXT)


def _inference(name: str) -> Schema:
    binary = {BINARY: {"schema": TEXT | {"format": "binary"}}}
    return {
        "operationId": name,
        "summary": f"{name}, by the Open Inference Protocol; each row is a message of its own.",
        "requestBody": {"required": True, "content": {JSON: {"schema": ASKED}, **binary}},
        "responses": _inferred({JSON: {"schema": INFERRED}, **binary}),
    }


def _told(operation: str, summary: str) -> Schema:
    content = {JSON: {"schema": {"type": "object"}}}
    responses = {"200": {"description": "The answer.", "content": content}, "default": {"description": "No."}}
    return {"operationId": operation, "summary": summary, "responses": responses}


def _inferred(content: Schema) -> Schema:
    failure = {"description": "A failure, as the protocol has it.", "content": {JSON: {"schema": REFUSED}}}
    return {"200": {"description": "The answer.", "content": content}, "default": failure}
