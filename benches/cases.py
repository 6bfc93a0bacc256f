"""What `benches.echo` compares: the servers, the cases they are given, and what we promise of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from benches.load import Load
from benches.servers.job import Job

WORKER, FIXED, COMMAND = "worker", "fixed", "command"
AIORMQ, PIKA, PIKA_SELECT, FLOOR = "bare_aiormq", "bare_pika", "pika_select", "floor"
SERVERS = {
    WORKER: "rpcb_trio, auto",
    FIXED: "rpcb_trio, fixed 0",
    COMMAND: "rpcb_trio, command",
    FLOOR: "floor",
    PIKA_SELECT: "pika, select",
    PIKA: "pika, blocking",
    AIORMQ: "aiormq",
}
ONE_BY_ONE = {PIKA, PIKA_SELECT}
"""They run the model where they read the socket, so a slow one is not for them."""

Figure: TypeAlias = Literal["cpu_us", "mean_ms", "p50_ms", "p99_ms"]
WORDS: dict[Figure, str] = {"cpu_us": "CPU", "mean_ms": "mean", "p50_ms": "p50", "p99_ms": "p99"}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A load, and the model behind it."""

    name: str
    title: str
    messages: int
    model: str = "echo"
    body_size: int = 64
    in_flight: int = 1
    rate: float | None = None

    @property
    def servers(self) -> list[str]:
        return [server for server in SERVERS if self.model != "slow" or server not in ONE_BY_ONE]

    def job(self, url: str, queue: str) -> Job:
        return Job(url=url, queue=queue, model=self.model)

    def load(self, url: str, queue: str, server: int, scale: float, seed: int) -> Load:
        """For the producer; `scale` says how much of the whole load."""
        messages = max(2, int(scale * self.messages))
        return Load(
            url=url,
            queue=queue,
            server=server,
            messages=messages,
            warm_up=max(1, messages // 6),
            body_size=self.body_size,
            in_flight=self.in_flight,
            rate=self.rate,
            seed=seed,
        )


CASES = {
    case.name: case
    for case in (
        Case(name="flood", title="64 B, 256 in flight", messages=8000, in_flight=256),
        Case(name="one-caller", title="64 B, one at a time", messages=800),
        Case(
            name="large",
            title="160 KB in, 64 B out, 16 in flight",
            messages=800,
            model="short",
            body_size=160_000,
            in_flight=16,
        ),
        Case(
            name="poisson-1000",
            title="Poisson, 1000/s, 2 + 0.2b ms",
            messages=2400,
            model="slow",
            rate=1000,
        ),
        Case(
            name="poisson-2000",
            title="Poisson, 2000/s, 2 + 0.2b ms",
            messages=3600,
            model="slow",
            rate=2000,
        ),
    )
}


class Target(msgspec.Struct, frozen=True):
    """The worker's figure is at most so many times another server's."""

    case: str
    figure: Figure
    server: str
    at_most: float

    def text(self) -> str:
        return f"{WORDS[self.figure]} at most {self.at_most:g}x {SERVERS[self.server]}"


NOISE = 1.05
"""No dearer, no slower: equals differ by as much from one run to the next."""
TARGETS = (
    Target("flood", "cpu_us", PIKA_SELECT, 1.0),
    Target("flood", "cpu_us", FLOOR, 2.0),
    Target("flood", "cpu_us", FIXED, NOISE),
    Target("flood", "mean_ms", FIXED, NOISE),
    Target("one-caller", "cpu_us", FLOOR, 1.5),
    Target("one-caller", "p50_ms", FLOOR, 1.3),
    Target("large", "cpu_us", FLOOR, 1.5),
    Target("poisson-1000", "mean_ms", FLOOR, 1.1),
    Target("poisson-1000", "cpu_us", FIXED, NOISE),
    Target("poisson-1000", "mean_ms", FIXED, NOISE),
    Target("poisson-2000", "p99_ms", FLOOR, 1.3),
)
