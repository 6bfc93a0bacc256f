"""The Open Inference Protocol over HTTP, version 2, with Triton's extension for tensors in binary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib import metadata
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rpcb_trio._gateway._endpoints import Endpoints
from rpcb_trio._gateway._faces._joined import MOST_ROWS, ask_each
from rpcb_trio._gateway._faces._signature import INPUT, OUTPUT, Signature
from rpcb_trio._gateway._faces._tensors import Joined, Rows, Sent, bad_reply, joined, wrong
from rpcb_trio._gateway._forms import JSON
from rpcb_trio._gateway._items import FEW, MOST_ITEMS, holds_too_many
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._responses import BINARY
from rpcb_trio._gateway._routes import Route, Tensor
from rpcb_trio._gateway._uploads import LONGEST_LENGTH, Upload
from rpcb_trio._messages import MODEL_VERSION_HEADER

HEADER_LENGTH = "inference-header-content-length"
"""How many bytes of a body are JSON; tensors in binary follow them."""

SERVER = {
    "name": "rpcb-trio",
    "version": metadata.version("rpcb-trio"),
    "extensions": ["binary_tensor_data"],
}

PLATFORM = "rpcb_trio"


class Wanted(msgspec.Struct, frozen=True):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Asked(msgspec.Struct, frozen=True):
    """The JSON of a request."""

    inputs: list[Sent]
    id: str = ""
    outputs: list[Wanted] = []
    parameters: dict[str, Any] = {}

    def is_binary(self, output: str) -> bool:
        """Whether an output is to follow the JSON as bytes."""
        for each in self.outputs:
            if each.name == output and "binary_data" in each.parameters:
                return each.parameters["binary_data"] is True
        return self.parameters.get("binary_data_output") is True


def shaped(problem: Problem) -> tuple[int, bytes]:
    """A problem's status and body, as the protocol has them."""
    return problem.status, msgspec.json.encode({"error": problem.detail})


def described(name: str, signature: Signature) -> dict[str, object]:
    """The metadata of a model."""
    return {
        "name": name,
        "platform": PLATFORM,
        "inputs": _described(signature.inputs),
        "outputs": _described(signature.outputs),
    }


def _described(tensors: Mapping[str, Tensor]) -> list[dict[str, object]]:
    return [
        {"name": name, "datatype": each.datatype or "FP64", "shape": [-1, *each.shape, *([-1] * each.is_any)]}
        for name, each in tensors.items()
    ]


class Model:
    """One model, and how it is asked.

    Args:
        endpoints: through which it is asked.
        name: of its route.
        route: where its service is.
        signature: its tensors.
    """

    def __init__(self, endpoints: Endpoints, name: str, route: Route, signature: Signature) -> None:
        self._endpoints = endpoints
        self._name = name
        self._route = route
        self._signature = signature

    async def infer(self, request: Request, upload: Upload) -> Response:
        """Answer a request; each row of its tensors is a message of its own.

        Raises:
            Problem: there is no answer.
        """
        self._endpoints.admit(request, upload, self._route)
        body = await upload.whole()
        is_large = len(body) > FEW
        read = partial(self._read, body, request.headers.get(HEADER_LENGTH))
        asked, inputs = await anyio.to_thread.run_sync(read) if is_large else read()
        answers, headers = await ask_each(
            self._endpoints.dispatcher,
            self._route,
            partial(self._body, inputs),
            count=next(iter(inputs.values())).count,
            read=lambda _, answer: answer,
            request=request,
            headers=self._endpoints.travelling(request),
            is_large=is_large,
        )
        write = partial(self._response, asked, answers, headers)
        return await anyio.to_thread.run_sync(write)

    def _read(self, body: bytes, header_length: str | None) -> tuple[Asked, dict[str, Rows]]:
        asked, content = _parted(body, header_length)
        inputs: dict[str, Rows] = {}
        for sent in asked.inputs:
            wanted = self._signature.input(sent.name)
            if wanted is None or sent.name in inputs:
                there = ", ".join(self._signature.inputs)
                raise wrong(sent.name, f"it is no input of this model, or comes twice; there is {there}")
            own: memoryview | None = None
            if sent.size is not None:
                if not 0 <= sent.size <= len(content):
                    raise wrong(
                        sent.name, f"binary_data_size is {sent.size}, and {len(content)} bytes are left"
                    )
                own, content = content[: sent.size], content[sent.size :]
            inputs[sent.name] = Rows(sent, wanted, own)
        if len(content):
            raise _malformed(f"{len(content)} bytes follow the last tensor")
        for name in self._signature.required - inputs.keys():
            raise wrong(name, "it is missing")
        counts = {each.count for each in inputs.values()}
        if len(counts) != 1:
            raise _malformed("its inputs differ in their first dimension, which counts the rows")
        names = {each.name for each in asked.outputs}
        if len(names) < len(asked.outputs):  # each would be written again
            raise _malformed("it asks for an output twice")
        if max(counts) > MOST_ROWS:
            raise _malformed(f"it has {max(counts)} rows; send at most {MOST_ROWS} at a time")
        return asked, inputs

    def _body(self, inputs: Mapping[str, Rows], index: int) -> bytes:
        row: Any = {name: each.row(index) for name, each in inputs.items()}
        if [*row] == [INPUT]:
            row = row[INPUT]
        encode = msgspec.json.encode if self._route.body_coding == "json" else msgspec.msgpack.encode
        return encode(row)

    def _response(self, asked: Asked, answers: Sequence[Any], headers: Mapping[str, str]) -> Response:
        outputs, contents = [], []
        for tensor in self._joined(asked, answers):
            said, content = tensor.written(is_binary=asked.is_binary(tensor.name))
            outputs.append(said)
            contents.append(content)
        version = headers.get(MODEL_VERSION_HEADER)
        answer: dict[str, object] = {
            "model_name": self._name,
            **({} if version is None else {"model_version": version}),
            **({"id": asked.id} if asked.id else {}),
            "outputs": outputs,
        }
        head = msgspec.json.encode(answer)
        if not any(contents):
            return Response(head, media_type=JSON, headers=headers)
        more = {HEADER_LENGTH: str(len(head))}
        return Response(b"".join([head, *contents]), media_type=BINARY, headers={**headers, **more})

    def _joined(self, asked: Asked, answers: Sequence[Any]) -> list[Joined]:
        known = self._signature.outputs
        first = answers[0]
        is_map = isinstance(first, dict)
        there = [*known] or ([str(name) for name in first] if is_map else [OUTPUT])
        wanted = [each.name for each in asked.outputs] or there
        for name in wanted:
            if name not in there:
                raise wrong(name, f"it is no output of this model; there is {', '.join(there)}")
        found = []
        for name in wanted:
            rows = [_field(name, each) for each in answers] if is_map else answers
            found.append(joined(name, rows, known.get(name)))
        return found


def _field(name: str, answer: Any) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise bad_reply(name, "a reply lacks it")
    return answer[name]


def _parted(body: bytes, header_length: str | None) -> tuple[Asked, memoryview]:
    """The JSON of a body, and the bytes that follow it."""
    length = len(body)
    if header_length is not None:
        given = header_length[:LONGEST_LENGTH]
        if given != header_length or not given.isdecimal() or int(given) > length:
            raise _malformed(f"{HEADER_LENGTH} is {given}, and the body has {length} bytes")
        length = int(header_length)
    whole = memoryview(body)
    head = bytes(whole[:length])
    if holds_too_many(head, "json"):
        why = f"its JSON holds more than {MOST_ITEMS} values; send tensors in binary"
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-big", why)
    try:
        asked = msgspec.json.decode(head, type=Asked)
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from None
    if not asked.inputs:
        raise _malformed("it has no inputs")
    return asked, whole[length:]


def _malformed(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "request", f"the request can't be read: {why}")
