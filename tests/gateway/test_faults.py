"""Faults of the gateway's own, and of its machine: logged, within bounds, at the cost of one request."""

from __future__ import annotations

import errno
import logging
from typing import Any

import pytest
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rpcb_trio import MemoryBroker, open_client
from rpcb_trio.gateway import make_app
from tests.gateway.fronts import asking, echo
from tests.gateway.listening import listening


async def broken(_: Request) -> Response:
    """A path with a fault."""
    raise ArithmeticError("x" * 10_000)


async def breaking_off(_: Request) -> Response:
    """One that fails when its answer has begun."""

    async def pieces() -> Any:
        yield b"a"
        raise ArithmeticError("b")

    return StreamingResponse(pieces())


async def test_a_fault_of_the_gateway_s_own_is_500_and_its_traceback_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_client(MemoryBroker()) as client:
        app = make_app(client, more=[Route("/broken", broken), Route("/off", breaking_off)])
        async with app.router.lifespan_context(app), asking(app) as http:
            answers = [await http.get("/broken") for _ in range(5)]
            with pytest.raises(AssertionError):  # of the client's own: the answer never ends
                await http.get("/off")
            assert (await http.get("/livez")).status_code == 200
    assert {(each.status_code, each.json()["error"]) for each in answers} == {(500, "gateway")}
    told = [each for each in caplog.records if each.name == "rpcb_trio.http"]
    assert [each.levelno for each in told].count(logging.ERROR) == 2
    assert all(len(each.getMessage()) < 400 for each in told)
    assert [bool(each.exc_info) for each in told] == [True, False, False, False, False, True]


async def test_a_lack_of_descriptors_is_logged_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening({"echo": {"queue": "echo"}}, echo=echo) as gateway, gateway.asking() as http:
        with caplog.at_level(logging.WARNING, "trio.serve_listeners"):
            for _ in range(20):
                error = OSError(errno.EMFILE, "Too many open files")
                logging.getLogger("trio.serve_listeners").error("accept returned %s", error, exc_info=error)
        assert (await http.post("/echo", content=b"x")).status_code == 200
        await trio.lowlevel.checkpoint()
    told = [each for each in caplog.records if each.name == "trio.serve_listeners"]
    assert [(each.levelno, bool(each.exc_info)) for each in told] == [(logging.WARNING, False)]
