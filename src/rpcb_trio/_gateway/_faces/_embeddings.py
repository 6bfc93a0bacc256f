"""`POST /v1/embeddings`, as OpenAI's clients send it: each of its inputs is a message of its own."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._gateway._endpoints import Endpoints
from rpcb_trio._gateway._faces._joined import MOST_ROWS, ask_each
from rpcb_trio._gateway._faces._openai import invalid, model_of
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._routes import Route, Routes
from rpcb_trio._gateway._uploads import Upload

LONGEST_BODY = 16 * 2**20
"""Bytes of a request."""

VECTORS = ("embedding", "vector")
"""Fields of an answer that hold the vector."""

TOKENS = "tokens"
"""The field of an answer that counts the tokens of its input."""


class Asked(msgspec.Struct, frozen=True):
    """What the client asks for; other keys, such as `user`, are ignored."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        """The inputs."""
        return [self.input] if isinstance(self.input, str) else self.input


class Embedding(msgspec.Struct, frozen=True):
    """One vector."""

    values: list[float]
    tokens: int
    """Of its input."""


async def embeddings(endpoints: Endpoints, routes: Routes, request: Request, upload: Upload) -> Response:
    """Answer a request for vectors of texts.

    Args:
        endpoints: through which it asks.
        routes: that make such, by the names of their models.
        request: over HTTP.
        upload: its body.

    Raises:
        Problem: there is no answer.
    """
    asked = asked_in(await upload.whole(LONGEST_BODY, "a request for embeddings"))
    route = model_of(routes, asked.model)
    endpoints.admit(request, upload, route)
    found, headers = await ask_each(
        endpoints.dispatcher,
        route,
        lambda index: body_of(route, asked.texts[index]),
        count=len(asked.texts),
        read=lambda index, answer: embedding_of(answer, asked, index),
        request=request,
        headers=endpoints.travelling(request),
    )
    return Response(body_with(asked, found), media_type=JSON, headers=headers)


def asked_in(body: bytes) -> Asked:
    """What a body asks for.

    Raises:
        Problem: 400, it makes no sense, or asks for what there is not.
    """
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid_json", f"the body is no JSON: {error}") from None
    if not asked.texts:
        raise invalid("input", "it is empty; send a text, or a list of them")
    if "" in asked.texts:
        raise invalid("input", "a text of it is empty")
    if len(asked.texts) > MOST_ROWS:
        raise invalid("input", f"it has {len(asked.texts)} texts; send at most {MOST_ROWS} at a time")
    return asked


def _wrong(error: str) -> Problem:
    """From what msgspec says: `Expected ..., got ... - at `$.input[0]``."""
    what, _, where = error.partition(" - at `$.")
    field = where.partition("[")[0].rstrip("`") or "the request"
    if field == "the request" and (named := what.partition("required field `")[2]):
        field, what = named.rstrip("`"), "it is missing"
    if field == "input" and what.startswith("Expected") and what.endswith(("got `int`", "got `array`")):
        what = "tokens are not taken; send texts, for the model has a tokeniser of its own"
    return invalid(field, what)


def body_of(route: Route, text: str) -> bytes:
    """The body of an input's message: the text."""
    if route.body_coding == "bytes":
        return text.encode()
    return msgspec.json.encode(text) if route.body_coding == "json" else msgspec.msgpack.encode(text)


def embedding_of(answer: Any, asked: Asked, index: int) -> Embedding:
    """The vector in an answer: a list of numbers, a map that has one, or the bytes of 32-bit floats.

    Raises:
        Problem: there is none, or it has another size than the client asks for.
    """
    values, tokens = answer, None
    if isinstance(answer, dict):
        values = next((answer[name] for name in VECTORS if name in answer), None)
        tokens = answer.get(TOKENS)
    try:
        vector = _floats(values) if isinstance(values, bytes) else msgspec.convert(values, list[float])
    except (ValueError, OverflowError) as error:
        raise _bad_reply(f"it is no list of numbers: {error}") from error
    if not vector:
        raise _bad_reply("it is empty")
    if asked.dimensions not in (None, len(vector)):
        raise invalid("dimensions", f"this model's vectors have {len(vector)}; leave it out, or say so")
    if not isinstance(tokens, int) or tokens < 0:
        tokens = len(asked.texts[index].split())
    return Embedding(vector, tokens)


def _floats(content: bytes) -> list[float]:
    return [value for (value,) in struct.iter_unpack("<f", content)]


def _bad_reply(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", f"a reply holds no vector: {why}")


def body_with(asked: Asked, found: Sequence[Embedding]) -> bytes:
    """The response's body."""
    is_packed = asked.encoding_format == "base64"
    vectors = [_packed(each.values) if is_packed else each.values for each in found]
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
    ]
    tokens = sum(each.tokens for each in found)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})


def _packed(values: Sequence[float]) -> bytes:
    """As 32-bit floats; JSON then has them in base64."""
    return struct.pack(f"<{len(values)}f", *values)
