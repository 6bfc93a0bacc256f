"""`python -m benches.table`: the ancestor's table of latencies as it was measured, through HTTP.

Broker, worker and gateway are processes of their own. The model is an accelerator that takes
`150 ms + 25 ms * b` for a batch of b; with `--model` it is a real recogniser, and users post recordings to
`/asr` as the ancestor's do. Users send their next request when they have the answer to their last.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import cyclopts
import httpx
import msgspec
import trio

from benches.callers import Ask, LetAsk, Plan, Seen, keep, run_cases, show
from benches.command import serving
from benches.fronts import gateway
from rpcb_models.recordings import recordings
from rpcb_models.simple import Echoed

CALL_SECONDS = 60.0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: a service, the route to it, and how to ask it."""

    title: str
    target: str
    routes: str
    ask_by: Callable[[httpx.AsyncClient], Ask]

    def serve(self, url: str, queue: str, max_batch_size: int) -> AbstractContextManager[object]:
        return serving(self.target, url, queue, max_batch_size=max_batch_size, batch_headers="true")


def ask_accelerator(client: httpx.AsyncClient) -> Ask:
    """Post a text, and check that it comes back."""

    async def ask(number: int) -> int:
        body = f"request of caller {number}"
        response = (await client.post("/accelerator", content=body.encode())).raise_for_status()
        echoed = msgspec.json.decode(response.content, type=Echoed)
        assert echoed.echo == body
        return echoed.batch_size

    return ask


def ask_recogniser(client: httpx.AsyncClient) -> Ask:
    """Post one recording after the other, as the ancestor's users do."""
    clips = itertools.cycle([each.path.read_bytes() for each in recordings()])

    async def ask(_: int) -> int:
        response = await client.post("/asr", files={"audio": next(clips)}, data={"format": "wav"})
        answer = response.raise_for_status().json()
        assert answer["status"] == 200, answer  # noqa: PLR2004 - the ancestor's own, in its JSON
        return int(response.headers["rpcb-batch-size"])

    return ask


ACCELERATOR = Subject(
    title="Through HTTP: a simulated accelerator, 150 ms + 25 ms * b for a batch of b",
    target="rpcb_models.simple:accelerator",
    routes='[routes.accelerator]\nqueue = "{queue}"\n',
    ask_by=ask_accelerator,
)


def recogniser(target: str) -> Subject:
    """A model that takes recordings on the ancestor's wire, behind its path and its form."""
    return Subject(
        title=f"Through HTTP: {target}, recordings of 2 to 8 s",
        target=target,
        routes='[routes.asr]\nqueue = "{queue}"\nenvelope = "rpcb_models.envelope:RECOGNITION"\n'
        '[routes.asr.form]\naudio = "file"\nformat = "text"\n',
        ask_by=ask_recogniser,
    )


def measure(subject: Subject, url: str, queue: str, max_batch_size: int, let_ask: LetAsk) -> list[Seen]:
    """Start a worker and the gateway, and let users ask."""
    routes = subject.routes.format(queue=queue)
    with subject.serve(url, queue, max_batch_size), gateway(url, routes) as front:

        async def run() -> list[Seen]:
            async with httpx.AsyncClient(base_url=front.url, timeout=CALL_SECONDS) as client:
                return await let_ask(subject.ask_by(client))

        return trio.run(run)


def main(
    *,
    seconds: float = 20.0,
    warm_up: int = 3,
    max_batch_size: int = 32,
    model: str | None = None,
    url: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure throughput and latency of 1 and 10 HTTP users, batched and one by one.

    Args:
        seconds: how long each of the four cases is measured.
        warm_up: how many calls of each user come before that.
        max_batch_size: the most requests in one batch.
        model: a recogniser (rpcb_models.asr:SpeechRecognition) instead of the simulated accelerator.
        url: of a broker; without it a private node is started.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(seconds=seconds, warm_up=warm_up, max_batch_size=max_batch_size)
    subject = ACCELERATOR if model is None else recogniser(model)
    found = run_cases(partial(measure, subject), url, plan)
    show(subject.title, found, plan)
    keep("table", found, plan, json, plot)


if __name__ == "__main__":
    cyclopts.run(main)
