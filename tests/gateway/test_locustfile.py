"""The locustfile drives the gateway; in a process of its own, for Locust patches the standard library."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import trio

from tests.deaf import deaf
from tests.gateway.fronts import ENVELOPE, batch_headers, echo
from tests.gateway.listening import Listening, listening

LOCUSTFILE = Path(__file__).parent.parent.parent / "benches" / "locustfile.py"
ROUTES = {
    "asr": {
        "queue": "asr",
        "envelope": ENVELOPE,
        "form": {"audio": "file", "format": "text"},
    },
    "echo": {"queue": "echo"},
}

ENOUGH = 3
PATIENCE = 300.0


class Counted(msgspec.Struct):
    """What Locust counted of a path."""

    name: str
    num_requests: int
    num_failures: int


async def run_locust(gateway: Listening, *flags: str) -> tuple[int, Counted]:
    """Its exit code, and what it counted; for longer where a busy machine lets it send too few requests."""
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--host", gateway.url]
    for seconds in (1, 8, 64):
        extent = ["--headless", "--users", "2", "--spawn-rate", "2", "--run-time", f"{seconds}s", "--json"]
        ended = await trio.run_process([*command, *extent, *flags], check=False, capture_stdout=True)
        for counted in msgspec.json.decode(ended.stdout, type=list[Counted]):
            if counted.num_requests >= ENOUGH:
                return ended.returncode, counted
    raise AssertionError("Locust sent too few requests")


async def test_locusts_users_post_recordings_to_asr() -> None:
    async with listening(ROUTES, patience=PATIENCE, asr=batch_headers(deaf)) as gateway:
        code, found = await run_locust(gateway)
    assert (code, found.name, found.num_failures) == (0, "/asr", 0)


async def test_locusts_users_await_an_echo_where_that_is_asked_for() -> None:
    async with listening(ROUTES, patience=PATIENCE, echo=echo) as gateway:
        code, found = await run_locust(gateway, "--rpc", "echo")
    assert (code, found.name, found.num_failures) == (0, "/rpc/echo", 0)


async def test_locust_fails_over_an_answer_that_is_another_or_an_error_in_the_ancestors_json() -> None:
    def shout(bodies: list[bytes]) -> list[bytes]:
        return [body.upper() for body in bodies]

    def garble(bodies: list[bytes]) -> list[bytes]:
        return [b"\xc1"] * len(bodies)

    async with listening(ROUTES, patience=PATIENCE, asr=garble, echo=shout) as gateway:
        for flags in ((), ("--rpc", "echo")):
            code, found = await run_locust(gateway, *flags)
            assert code == 1
            assert found.num_failures == found.num_requests
