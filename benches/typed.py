"""`python -m benches.typed`: what a typed service costs for each request, beside the same written by hooks.

All are served in one process from an embedded broker, and take turns at a full queue. So the figures include
the broker and the callers, which are the same for all; `bytes` has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import repeat
from json import dumps, loads
from pathlib import Path
from typing import Any

import cyclopts
import msgspec
import trio

from benches.report import Spread, print_table, write_json
from benches.turns import Contestant, backlogged
from rpcb_trio import Failure, FixedPolicy, Outcome, Success

BATCH, PENDING = 32, 128


class Text(msgspec.Struct):
    text: str
    language: str = "en"


class Label(msgspec.Struct):
    label: str
    score: float


def classified(texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    return ((("long" if len(text) > BATCH else "short"), len(text) / 100) for text in texts)


class Warm:
    def warm_up(self) -> None: ...


class Bytes(Warm):
    """The least there is."""

    def infer(self, bodies: list[bytes]) -> list[bytes]:
        return [b"%d" % len(body) for body in bodies]


class Hooks(Warm):
    """As one writes it by hand, with the library that is the fastest."""

    content_type = "application/json"

    def decode(self, body: bytes) -> Text:
        return msgspec.json.decode(body, type=Text)

    def infer(self, items: list[Text]) -> list[Label]:
        return [Label(*each) for each in classified([item.text for item in items])]

    def encode(self, outcome: Outcome[Label]) -> bytes:
        match outcome:
            case Success(value=label):
                return msgspec.json.encode(label)
            case Failure(error=error):
                return msgspec.json.encode({"error": {"code": error.code, "message": str(error)}})


class StandardHooks(Warm):
    """As the tutorial of any library has it: `json`, and dicts."""

    content_type = "application/json"

    def decode(self, body: bytes) -> dict[str, Any]:
        found: dict[str, Any] = loads(body)
        return found

    def infer(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"label": label, "score": score} for label, score in classified([each["text"] for each in items])
        ]

    def encode(self, outcome: Outcome[dict[str, Any]]) -> bytes:
        match outcome:
            case Success(value=label):
                return dumps(label).encode()
            case Failure(error=error):
                return dumps({"error": {"code": error.code, "message": str(error)}}).encode()


class Typed(Warm):
    """By annotations."""

    def infer(self, items: list[Text]) -> list[Label]:
        return [Label(*each) for each in classified([item.text for item in items])]


SERVICES = {"bytes": Bytes, "hooks, json": StandardHooks, "hooks, msgspec": Hooks, "typed": Typed}
BESIDE = "hooks, msgspec"


async def measure(rounds: int, requests: int, size: int) -> dict[str, list[float]]:
    """Microseconds of processor time for each request, by service, round by round."""
    body = msgspec.json.encode({"text": "x" * size})
    taken: dict[str, list[float]] = {name: [] for name in SERVICES}
    async with AsyncExitStack() as stack:
        contestants = dict[str, Contestant]()
        for name, service in SERVICES.items():
            opened = backlogged(service(), FixedPolicy(BATCH), repeat(body), pending=PENDING)
            contestants[name] = await stack.enter_async_context(opened)
        for number in range(-1, rounds):
            names = list(SERVICES)
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                turn = await contestants[name].take_turn(requests)
                if number >= 0:  # the first round warms up
                    done = sum(each.size for each in turn.batches)
                    taken[name].append(1e6 * turn.cpu_seconds / done)
    return taken


def main(*, rounds: int = 15, requests: int = 2000, size: int = 64, json: Path | None = None) -> None:
    """Measure processor time per request.

    Args:
        rounds: how many turns each service has.
        requests: of a turn.
        size: characters of a request's text.
        json: a file for the figures.
    """
    taken = trio.run(measure, rounds, requests, size)
    found = {
        name: {
            "cpu_us": Spread.of(each),
            "ratio": Spread.of([own / its for own, its in zip(each, taken[BESIDE], strict=True)]),
        }
        for name, each in taken.items()
    }
    print_table(
        f"{size} characters in, a label out, as JSON",
        "Processor time for each request, the embedded broker and the caller included; medians, and lowest-"
        "highest below.",
        ("service", "CPU µs", f"to {BESIDE}"),
        [(name, each["cpu_us"].text(), each["ratio"].text(2)) for name, each in found.items()],
    )
    if json is not None:
        settings = {"rounds": rounds, "requests": requests, "size": size}
        write_json(json, "typed", settings, [{"service": name, **each} for name, each in found.items()])


if __name__ == "__main__":
    cyclopts.run(main)
