"""`serve --events`: a worker's process tells of itself from its start to its end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rpcb_trio.events import StateEvent
from rpcb_trio.instruments import Condition
from tests.cli.conftest import Serve
from tests.events.watching import seeing
from tests.rabbitmq import Broker


async def test_workers_of_a_file_tell_of_themselves_from_warming_up_until_they_have_stopped(
    broker: Broker, serve: Serve, queue: str, workplace: Path
) -> None:
    exchange, other = broker.fresh_name("events"), broker.fresh_name()
    (workplace / "rpcb.toml").write_text(
        f"""
        target = "services:shout"
        events = "{exchange}"
        [workers.one]
        queue = "{queue}"
        device = ["cpu"]
        [workers.two]
        queue = "{other}"
        """
    )
    async with seeing(broker.url, exchange) as seen:
        async with serve() as worker:
            await worker.line_with("two: consuming")
            worker.send(signal.SIGTERM)
            assert await worker.end() == 0
        await seen.until_it_is_so(
            lambda: [each.condition for each in seen.of(StateEvent)].count(Condition.STOPPED) == 2
        )
    of_one = [each for each in seen.of(StateEvent) if each.worker == "one"]
    assert {each.worker for each in seen.of(StateEvent)} == {"one", "two"}
    assert of_one[0].condition is Condition.WARMING_UP
    assert (of_one[0].pid, of_one[0].queue, of_one[0].device) == (worker.pid, queue, "cpu")


@pytest.mark.parametrize(
    ("exchange", "code", "says"),
    [
        (
            "amq.fanout",
            4,
            "rpcb-trio: events: exchange 'amq.fanout': it is there, but no topic exchange; name",
        ),
        ("", 2, "rpcb-trio: Invalid value for --events: it is empty; leave it out, or say which."),
    ],
)
async def test_a_worker_whose_events_can_not_be_published_ends_with_one_line(
    serve: Serve, queue: str, exchange: str, code: int, says: str
) -> None:
    async with serve("services:shout", "--queue", queue, f"--events={exchange}") as worker:
        assert await worker.end() == code
        await worker.line_with(says)
