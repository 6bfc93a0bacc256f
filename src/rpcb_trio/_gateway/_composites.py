"""A composite route: calls its parts, each as soon as the parts it takes values from are answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import msgspec

from rpcb_trio._gateway._dispatcher import Dispatcher
from rpcb_trio._gateway._forms import Value, complete
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import MISSING, Keep, find, reply_headers, to_json
from rpcb_trio._gateway._routes import Part, Route, Routes

BATCH_SIZES_HEADER = "rpcb-batch-sizes"

STRUCTURED_KEY = re.compile(r"[a-z*][a-z0-9_.*-]{0,59}")
"""Names that a header's dictionary can have (RFC 8941, 3.2)."""

Ended = tuple[Any] | Problem
"""How a part ended: its answer, or why there is none."""


class Composition:
    """One request to a composite route: its parts, their answers, and one deadline for all."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        routes: Routes,
        route: Route,
        values: Mapping[str, Value],
        headers: Mapping[str, object],
        *,
        is_strict: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._routes = routes
        self._route = route
        self._values = values
        self._headers = headers
        self._is_strict = is_strict
        self._done = {name: anyio.Event() for name in route.parts}
        self._ended: dict[str, Ended] = {}
        self._written: dict[str, bytes | Problem] = {}
        self._batch_sizes: dict[str, str] = {}
        self._deadline = anyio.current_time() + dispatcher.timeout_of(route)

    async def run(self, keep: Keep) -> dict[str, msgspec.Raw]:
        """The answers of all parts as JSON; of a part that failed, its problem under `problem`.

        Raises:
            Problem: all parts failed; it is that of the first one that did not fail because of another.
        """
        async with anyio.create_task_group() as tasks:
            for name, part in self._route.parts.items():
                tasks.start_soon(self._run_part, name, part, keep)
        written = {name: self._written[name] for name in self._route.parts}
        problems = [each for each in written.values() if isinstance(each, Problem)]
        if len(problems) == len(written):
            own = (each for each in problems if each.status != HTTPStatus.FAILED_DEPENDENCY)
            raise next(own, problems[0])
        return {name: _as_json(each) for name, each in written.items()}

    def headers(self) -> dict[str, str]:
        """After `run`: in how large a batch each part's request was, where workers say so (RFC 8941)."""
        sizes = [
            f"{name}={self._batch_sizes[name]}" for name in self._route.parts if name in self._batch_sizes
        ]
        return {BATCH_SIZES_HEADER: ", ".join(sizes)} if sizes else {}

    async def _run_part(self, name: str, part: Part, keep: Keep) -> None:
        try:
            try:
                answer = await self._answer(name, part)
            finally:
                self._done[name].set()  # those that wait for it run at the next await, and no sooner
            self._ended[name] = (answer,)
            self._written[name] = await to_json(self._routes[part.route], answer, keep)
        except Problem as problem:
            self._ended.setdefault(name, problem)
            self._written[name] = problem

    async def _answer(self, name: str, part: Part) -> Any:
        for feeder in part.feeders(self._route.parts):
            await self._done[feeder].wait()
        target = msgspec.structs.replace(self._routes[part.route], envelope=self._route.envelope)
        left = self._deadline - anyio.current_time()
        if left <= 0:
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, "timeout", "no time was left for it")
        values = complete(target.form, self._filled(part, target))
        answer, reply = await self._dispatcher.ask(
            target, values, self._headers, is_strict=self._is_strict, at_most=left
        )
        size = reply_headers(reply).get("rpcb-batch-size", "")
        if size.isdecimal() and STRUCTURED_KEY.fullmatch(name):
            self._batch_sizes[name] = size
        return answer

    def _filled(self, part: Part, target: Route) -> dict[str, Value]:
        """The values for the target's form: constants, fields of other parts' answers, the request's own."""
        filled: dict[str, Value] = {}
        for field in target.form:
            if field in part.constants:
                filled[field] = part.constants[field]
                continue
            head, dot, path = part.fields.get(field, field).partition(".")
            if dot:
                filled[field] = self._from_part(head, path)
            elif head in self._values:
                filled[field] = self._values[head]
        return filled

    def _from_part(self, feeder: str, path: str) -> Value:
        ended = self._ended[feeder]
        if isinstance(ended, Problem):
            why = f"it takes {path} from {feeder}, which failed"
            raise Problem(HTTPStatus.FAILED_DEPENDENCY, "part", why)
        value = find(ended[0], path)
        if not isinstance(value, bytes | str | int | float):
            what = "there is none" if value is MISSING else "it is no plain value"
            raise Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", f"{feeder}.{path}: {what}")
        return value


def _as_json(written: bytes | Problem) -> msgspec.Raw:
    return msgspec.Raw(written if isinstance(written, bytes) else b'{"problem":%b}' % written.as_json())
