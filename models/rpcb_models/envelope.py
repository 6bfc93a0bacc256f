"""The shape of rabbit-rpc-client's responses, to the letter: `{status, message, data}`, with its texts.

Its clients read the status in the JSON: 200, 400 after a timeout, 500 after any other failure. HTTP's own
status is 200, except that an overloaded gateway answers 503, which a load balancer must see. What a service
itself says of a failure is an answer to these clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from rpcb_trio.gateway import Field, Problem

TIMEOUT = "内部服务调用超时"
ERROR = "程序内部未知错误"
MISSING = "参数缺失: name={}"
JAVA_TYPES = {"text": "String", "integer": "Integer", "number": "Double", "boolean": "Boolean"}
"""What is said of a missing field; of a file it names no type."""


class Body(msgspec.Struct, frozen=True):
    """The JSON; the order of its fields is rabbit-rpc-client's."""

    status: int
    message: str
    data: msgspec.Raw | None


class Envelope:
    """As `rpcb_trio.gateway.Envelope` has it.

    Args:
        names_missing: whether a missing field is named.
    """

    answer = "data"
    passes_error_replies = True
    schema: Mapping[str, Any] = {
        "type": "object",
        "required": ["status", "message", "data"],
        "properties": {
            "status": {"type": "integer", "enum": [200, 400, 500]},
            "message": {"type": "string"},
            "data": {"description": "The answer; null after an error."},
        },
    }

    def __init__(self, *, names_missing: bool = True) -> None:
        self._names_missing = names_missing

    def success(self, answer: bytes) -> bytes:
        """The answer in the envelope."""
        return msgspec.json.encode(Body(HTTPStatus.OK, "success", msgspec.Raw(answer)))

    def failure(self, problem: Problem, form: Mapping[str, Field]) -> tuple[int, bytes]:
        """The failure in the envelope."""
        is_late = problem.status == HTTPStatus.GATEWAY_TIMEOUT
        body = Body(400, TIMEOUT, None) if is_late else Body(500, self._message(problem, form), None)
        status = problem.status if problem.code == "busy" else HTTPStatus.OK
        return status, msgspec.json.encode(body)

    def _message(self, problem: Problem, form: Mapping[str, Field]) -> str:
        if not problem.is_missing or problem.field is None or not self._names_missing:
            return ERROR
        kind = JAVA_TYPES.get(form[problem.field].type)
        return MISSING.format(problem.field) + (f" type={kind}" if kind else "")


RECOGNITION = Envelope()
ENHANCEMENT = Envelope(names_missing=False)
