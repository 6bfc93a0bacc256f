"""`python -m benches.gateway`: what the gateway costs, next to HTTP alone and to the RPC alone.

All answer each body with itself. The gateway asks a worker's echo; *bare* is Starlette on the same server
(hypercorn's trio worker), which answers from memory; *rpc* is `RpcClient`, straight to the same worker. They
take turns, in several rounds, with the same number of users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cyclopts
import msgspec
from msgspec.structs import asdict

from benches.broker import broker_at, fresh_queue
from benches.command import serving
from benches.fronts import HOST, Served, free_port, gateway, served
from benches.http_load import Asked, Users, run_users
from benches.plots import draw_fronts
from benches.report import Spread, print_table, progress, write_json
from benches.rpc_load import Callers, run_callers

GATEWAY, BARE, RPC = "gateway", "bare Starlette", "RpcClient"
ROUTES = '[routes.echo]\nqueue = "{queue}"\n'


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What each is given to do; `main` says what each setting is."""

    rounds: int
    users: int
    requests: int
    alone: int
    body_size: int


class Turn(msgspec.Struct, frozen=True):
    """One turn of one of them."""

    asked: Asked
    cpu_seconds: float

    @property
    def cpu_us(self) -> float:
        """Processor time for each request, in microseconds."""
        return 1e6 * self.cpu_seconds / self.asked.requests


Take = Callable[[int, int], Turn]
"""A turn with so many users, and so many requests in all."""


class Round(msgspec.Struct, frozen=True):
    """With all users, and with one."""

    many: Turn
    alone: Turn


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one of them."""

    name: str
    requests_per_second: Spread
    cpu_us_per_request: Spread
    """Of the process that answers; of `RpcClient`, the process that calls."""
    cpu_ratio_to_bare: Spread
    alone_p50_ms: Spread
    alone_p99_ms: Spread
    alone_over_rpc_ms: Spread
    """By how much the median is above that of the RPC, round by round."""


def summary(name: str, rounds: Mapping[str, Sequence[Round]]) -> Found:
    """Sum up the rounds of one of them."""
    own, bare, rpc = rounds[name], rounds[BARE], rounds[RPC]
    return Found(
        name=name,
        requests_per_second=Spread.of([each.many.asked.requests / each.many.asked.seconds for each in own]),
        cpu_us_per_request=Spread.of([each.many.cpu_us for each in own]),
        cpu_ratio_to_bare=Spread.of(
            [each.many.cpu_us / other.many.cpu_us for each, other in zip(own, bare, strict=True)]
        ),
        alone_p50_ms=Spread.of([each.alone.asked.p50_ms for each in own]),
        alone_p99_ms=Spread.of([each.alone.asked.p99_ms for each in own]),
        alone_over_rpc_ms=Spread.of(
            [each.alone.asked.p50_ms - other.alone.asked.p50_ms for each, other in zip(own, rpc, strict=True)]
        ),
    )


def over_http(front: Served, body_size: int) -> Take:
    """Turns of an HTTP server, which answers at /echo."""

    def take(users: int, requests: int) -> Turn:
        before = front.cpu_seconds()
        asked = run_users(
            Users(
                host=HOST, port=front.port, path="/echo", users=users, requests=requests, body_size=body_size
            )
        )
        return Turn(asked, front.cpu_seconds() - before)

    return take


def over_amqp(url: str, queue: str, body_size: int) -> Take:
    def take(users: int, requests: int) -> Turn:
        called = run_callers(
            Callers(url=url, queue=queue, callers=users, requests=requests, body_size=body_size)
        )
        return Turn(called.asked, called.cpu_seconds)

    return take


@contextmanager
def opened(url: str | None, body_size: int) -> Iterator[dict[str, Take]]:
    """Broker, worker and the HTTP servers; all run throughout, and idle when it is not their turn."""
    with (
        broker_at(url) as broker,
        fresh_queue(broker) as queue,
        serving("rpcb_models.simple:echo", broker.url, queue),
        gateway(broker.url, ROUTES.format(queue=queue)) as front,
        served(["-m", "benches.servers.bare_starlette", str(port := free_port())], port) as bare,
    ):
        yield {
            GATEWAY: over_http(front, body_size),
            BARE: over_http(bare, body_size),
            RPC: over_amqp(broker.url, queue, body_size),
        }


def run_rounds(takes: Mapping[str, Take], plan: Plan) -> dict[str, list[Round]]:
    """Let them take turns, each round beginning with another one. A turn before the first does not count."""
    rounds: dict[str, list[Round]] = {name: [] for name in takes}
    names = list(takes)
    with progress() as bar:
        task = bar.add_task("", total=(1 + 2 * plan.rounds) * len(names))

        def turn(name: str, users: int, requests: int, what: str) -> Turn:
            bar.update(task, description=f"{what}: {name}, {users} at a time")
            turn = takes[name](users, requests)
            bar.advance(task)
            return turn

        for name in names:
            turn(name, plan.users, plan.alone, "warm-up")
        for number in range(plan.rounds):
            what, first = f"round {number + 1}/{plan.rounds}", number % len(names)
            order = names[first:] + names[:first]
            many = {name: turn(name, plan.users, plan.requests, what) for name in order}
            alone = {name: turn(name, 1, plan.alone, what) for name in order}
            for name in names:
                rounds[name].append(Round(many[name], alone[name]))
    return rounds


def main(
    *,
    rounds: int = 5,
    users: int = 16,
    requests: int = 3000,
    alone: int = 500,
    body_size: int = 1000,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure requests per second, processor time and latency of the gateway, of bare HTTP, and of the RPC.

    Args:
        rounds: how many turns each takes.
        users: how many ask at a time.
        requests: how many they send in each turn.
        alone: how many one user then sends alone.
        body_size: of a request and its reply, in bytes.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(rounds=rounds, users=users, requests=requests, alone=alone, body_size=body_size)
    with opened(url, body_size) as takes:
        measured = run_rounds(takes, plan)
    found = [summary(name, measured) for name in measured]
    show(found, plan)
    if json is not None:
        write_json(json, "gateway", asdict(plan), found)
    if plot is not None:
        draw_fronts(
            plot,
            [each.name for each in found],
            [each.cpu_us_per_request for each in found],
            [each.alone_p50_ms for each in found],
        )


def show(found: Sequence[Found], plan: Plan) -> None:
    print_table(
        "Echo through HTTP: what the gateway costs",
        f"Medians of the rounds, lowest-highest below. {plan.users} users; latencies in ms, of one user.\n"
        "CPU is the processor time of the HTTP server; of RpcClient, that of the process which calls.",
        ("", "requests/s", "CPU µs", "to bare", "p50", "p99", "over RPC"),
        [
            (
                each.name,
                each.requests_per_second.text(),
                each.cpu_us_per_request.text(),
                each.cpu_ratio_to_bare.text(2),
                each.alone_p50_ms.text(2),
                each.alone_p99_ms.text(2),
                each.alone_over_rpc_ms.text(2),
            )
            for each in found
        ],
    )


if __name__ == "__main__":
    cyclopts.run(main)
