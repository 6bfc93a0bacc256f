"""`python -m benches.readme`: the ancestor's table of latencies, again, through a real RabbitMQ.

The model is an accelerator that takes `150 ms + 25 ms * b` for a batch of b. Callers call in a closed loop:
each one sends its next request when it has the reply to its last. `benches.table` does it through HTTP.
"""

from __future__ import annotations

from pathlib import Path

import cyclopts
import msgspec
import trio

from benches.callers import LetAsk, Plan, Seen, keep, run_cases, show
from benches.command import serving
from rpcb_models.simple import Echoed
from rpcb_trio import open_client

CALL_SECONDS = 60.0


def measure(url: str, queue: str, max_batch_size: int, let_ask: LetAsk) -> list[Seen]:
    """Start a worker and let the callers call it."""

    async def run() -> list[Seen]:
        async with open_client(url) as client:

            async def ask(number: int) -> int:
                body = f"request of caller {number}".encode()
                reply = await client.call(body, queue=queue, timeout=CALL_SECONDS)
                echoed = msgspec.json.decode(reply.raise_for_error().body, type=Echoed)
                assert echoed.echo.encode() == body
                return echoed.batch_size

            return await let_ask(ask)

    with serving("rpcb_models.simple:accelerator", url, queue, max_batch_size=max_batch_size):
        return trio.run(run)


def main(
    *,
    seconds: float = 20.0,
    warm_up: int = 3,
    max_batch_size: int = 32,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure throughput and latency of 1 and 10 callers, batched and one by one.

    Args:
        seconds: how long each of the four cases is measured.
        warm_up: how many calls of each caller come before that.
        max_batch_size: the most requests in one batch.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(seconds=seconds, warm_up=warm_up, max_batch_size=max_batch_size)
    found = run_cases(measure, url, plan)
    show("Latency of a simulated accelerator, 150 ms + 25 ms * b for a batch of b", found, plan)
    keep("readme", found, plan, json, plot)


if __name__ == "__main__":
    cyclopts.run(main)
