"""A composite route: its parts, each as soon as those it takes from are answered."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import msgspec

from rpcb_trio._gateway._bodies import Value, complete
from rpcb_trio._gateway._front import Front
from rpcb_trio._gateway._problems import Problem
from rpcb_trio._gateway._replies import MISSING, Keep, find, to_json
from rpcb_trio._gateway._routes import Part, Route, Routes

Outcome = tuple[Any] | Problem
"""What a part came to: its answer, or why there is none."""


class Composition:
    """One request to a composite route."""

    def __init__(
        self,
        front: Front,
        routes: Routes,
        route: Route,
        values: Mapping[str, Value],
        request_id: str,
        *,
        is_strict: bool = False,
    ) -> None:
        self._front = front
        self._routes = routes
        self._route = route
        self._values = values
        self._request_id = request_id
        self._is_strict = is_strict
        self._done = {name: anyio.Event() for name in route.parts}
        self._outcomes: dict[str, Outcome] = {}
        self._told: dict[str, bytes | Problem] = {}
        self._deadline = anyio.current_time() + front.timeout_of(route)

    async def run(self, keep: Keep) -> dict[str, msgspec.Raw]:
        """All parts' answers as JSON; where one failed, its problem under `problem` in its place.

        Raises:
            Problem: all of them failed; it is the first one's that failed of itself.
        """
        async with anyio.create_task_group() as tasks:
            for name, part in self._route.parts.items():
                tasks.start_soon(self._tell, name, part, keep)
        told = {name: self._told[name] for name in self._route.parts}
        problems = [each for each in told.values() if isinstance(each, Problem)]
        if len(problems) == len(told):
            raise next(filter(_fails_of_itself, problems), problems[0])
        return {name: _in_its_place(each) for name, each in told.items()}

    async def _tell(self, name: str, part: Part, keep: Keep) -> None:
        try:
            answer = await self._settle(name, part)
            self._told[name] = await to_json(self._routes[part.route], answer, keep)
        except Problem as problem:
            self._told[name] = problem

    async def _settle(self, name: str, part: Part) -> Any:
        try:
            answer = await self._answer(part)
        except Problem as problem:
            self._outcomes[name] = problem
            raise
        else:
            self._outcomes[name] = (answer,)
            return answer
        finally:
            self._done[name].set()

    async def _answer(self, part: Part) -> Any:
        for feeder in part.feeders(self._route.parts):
            await self._done[feeder].wait()
        target = msgspec.structs.replace(self._routes[part.route], shape=self._route.shape)
        left = self._deadline - anyio.current_time()
        if left <= 0:
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, "timeout", "no time was left for it")
        values = complete(target.form, self._filled(part, target))
        answer, _ = await self._front.ask(
            target, values, self._request_id, is_strict=self._is_strict, at_most=left
        )
        return answer

    def _filled(self, part: Part, target: Route) -> dict[str, Value]:
        """The target's form, from constants, other parts' answers and the request's own form."""
        filled: dict[str, Value] = {}
        for field in target.form:
            if field in part.constants:
                filled[field] = part.constants[field]
                continue
            head, dot, path = part.fields.get(field, field).partition(".")
            if dot:
                filled[field] = self._taken(head, path)
            elif head in self._values:
                filled[field] = self._values[head]
        return filled

    def _taken(self, feeder: str, path: str) -> Value:
        outcome = self._outcomes[feeder]
        if isinstance(outcome, Problem):
            why = f"it takes {path} from {feeder}, which failed"
            raise Problem(HTTPStatus.FAILED_DEPENDENCY, "part", why)
        value = find(outcome[0], path)
        if not isinstance(value, bytes | str | int | float):
            what = "there is none" if value is MISSING else "it is no plain value"
            raise Problem(HTTPStatus.BAD_GATEWAY, "bad-reply", f"{feeder}.{path}: {what}")
        return value


def _fails_of_itself(problem: Problem) -> bool:
    return problem.status != HTTPStatus.FAILED_DEPENDENCY


def _in_its_place(told: bytes | Problem) -> msgspec.Raw:
    return msgspec.Raw(told if isinstance(told, bytes) else b'{"problem":%b}' % told.as_json())
