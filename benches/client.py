"""`python -m benches.client`: what a call costs the program that makes it, by client.

All call the same echo, the floor of `benches.echo`, whose processor time does not count. The clients take
turns, each in a process of its own, in several rounds: alone, and with many calls at a time where they can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cyclopts
import msgspec
from msgspec.structs import asdict

from benches.broker import broker_at, fresh_queue
from benches.cases import FLOOR
from benches.plots import draw_fronts
from benches.processes import running
from benches.report import Spread, print_table, progress, write_json
from benches.rpc_load import Called, Callers, Client, run_callers
from benches.servers.job import Job

CLIENTS: dict[Client, str] = {
    "trio": "RpcClient, trio",
    "asyncio": "RpcClient, asyncio",
    "blocking": "BlockingRpcClient",
    "pika": "pika, blocking",
}
BASELINE: Client = "pika"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What each client is given to do; `main` says what each setting is."""

    rounds: int
    callers: int
    requests: int
    alone: int
    body_size: int


class Round(msgspec.Struct, frozen=True):
    """One call at a time, and many; None where a client makes but one."""

    alone: Called
    many: Called | None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    client: Client
    alone_cpu_us: Spread
    """Of the process that calls, for each call."""
    alone_ratio_to_pika: Spread
    alone_p50_ms: Spread
    many_cpu_us: Spread | None
    many_per_second: Spread | None


def cpu_us(called: Called) -> float:
    """Processor time for each call, in microseconds."""
    return 1e6 * called.cpu_seconds / called.asked.requests


def summary(client: Client, rounds: Mapping[Client, Sequence[Round]]) -> Found:
    own, pikas = rounds[client], rounds[BASELINE]
    many = [each.many for each in own if each.many is not None]
    return Found(
        client=client,
        alone_cpu_us=Spread.of([cpu_us(each.alone) for each in own]),
        alone_ratio_to_pika=Spread.of(
            [cpu_us(each.alone) / cpu_us(other.alone) for each, other in zip(own, pikas, strict=True)]
        ),
        alone_p50_ms=Spread.of([each.alone.asked.p50_ms for each in own]),
        many_cpu_us=Spread.of([cpu_us(each) for each in many]) if many else None,
        many_per_second=Spread.of([each.asked.requests / each.asked.seconds for each in many])
        if many
        else None,
    )


def take_turn(url: str, queue: str, client: Client, plan: Plan) -> Round:
    def call(callers: int, requests: int) -> Called:
        return run_callers(
            Callers(
                url=url,
                queue=queue,
                callers=callers,
                requests=requests,
                body_size=plan.body_size,
                client=client,
            )
        )

    return Round(call(1, plan.alone), None if client == BASELINE else call(plan.callers, plan.requests))


def run_rounds(take: Callable[[Client], Round], rounds: int) -> dict[Client, list[Round]]:
    """Let them take turns, each round beginning with another one."""
    names = list(CLIENTS)
    found: dict[Client, list[Round]] = {name: [] for name in names}
    with progress() as bar:
        task = bar.add_task("", total=rounds * len(names))
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                bar.update(task, description=f"round {number + 1}/{rounds}: {CLIENTS[name]}")
                found[name].append(take(name))
                bar.advance(task)
    return found


def main(
    *,
    rounds: int = 5,
    callers: int = 32,
    requests: int = 3000,
    alone: int = 800,
    body_size: int = 64,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure the caller's processor time per call, one at a time and many.

    Args:
        rounds: how many turns each client takes.
        callers: how many call at a time, as tasks or threads of one client.
        requests: how many they send in each turn.
        alone: how many are sent one at a time.
        body_size: of a request and its reply, in bytes.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(rounds=rounds, callers=callers, requests=requests, alone=alone, body_size=body_size)
    with broker_at(url) as broker, fresh_queue(broker) as queue:
        job = Job(url=broker.url, queue=queue, model="echo")
        with running(FLOOR, job):
            measured = run_rounds(lambda client: take_turn(broker.url, queue, client, plan), rounds)
    found = [summary(client, measured) for client in CLIENTS]
    show(found, plan)
    if json is not None:
        write_json(json, "client", asdict(plan), found)
    if plot is not None:
        draw_fronts(
            plot,
            [CLIENTS[each.client] for each in found],
            [each.alone_cpu_us for each in found],
            [each.alone_p50_ms for each in found],
        )


def show(found: Sequence[Found], plan: Plan) -> None:
    print_table(
        "An echo, called: what a call costs its caller",
        f"Medians of the rounds, lowest-highest below; processor time of the calling process alone.\n"
        f"One call at a time, then {plan.callers}.",
        ("client", "CPU µs", "to pika", "p50 ms", f"CPU µs, {plan.callers}", f"calls/s, {plan.callers}"),
        [
            (
                CLIENTS[each.client],
                each.alone_cpu_us.text(),
                each.alone_ratio_to_pika.text(2),
                each.alone_p50_ms.text(),
                *(spread.text() if spread else "" for spread in (each.many_cpu_us, each.many_per_second)),
            )
            for each in found
        ],
    )


if __name__ == "__main__":
    cyclopts.run(main)
