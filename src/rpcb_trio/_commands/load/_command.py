"""The command `load`."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import Body
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._load_flags import REQUESTS, Bodies, BodyFlags, Latency, ObjectiveFlags
from rpcb_trio._commands._outputs import OutputFlags, Outputs, progress_bar
from rpcb_trio._commands._settings._broker import transport
from rpcb_trio._commands._settings._destination import Exchange, RoutingKey, route
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import ConfigPath, ConnectionSettings, QueueSettings
from rpcb_trio._commands.load._flags import LoadFlags
from rpcb_trio._commands.load._report import (
    Loaded,
    Step,
    load_title,
    print_figures,
    print_ramp,
    progress_line,
    summary,
)
from rpcb_trio._measure import Call, Extent, Objective, Tally, find_highest, send_closed, send_open
from rpcb_trio._messages import Reply
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 10.0
"""How long a load goes on if nothing else is said."""
REDRAWN = 0.25
"""Seconds."""


def load(
    text: Annotated[str | None, flag(REQUESTS, "The requests' body, as UTF-8.", shown=False)] = None,
    *,
    given: Bodies = BodyFlags(),
    exchange: Exchange = "",
    routing_key: RoutingKey = None,
    how: Annotated[LoadFlags, Parameter(name="*")] = LoadFlags(),
    latency: Latency = ObjectiveFlags(),
    outputs: Outputs = OutputFlags(),
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the other settings
    settings: QueueSettings = QueueSettings(),
) -> int:
    """Send a load to a worker, and show what its callers would see.

    Latency counts from when a request was due: a load that can't be sent in time, or a service that falls
    behind, shows in it. Ctrl-C ends it early, and shows what is known so far.
    """
    objective = latency.read()
    _check(how, objective)
    outputs = outputs.checked()
    bodies = _bodies(text, given)
    where = route(settings.queue, exchange, routing_key)
    found, ended = Loaded(how, objective), ExitCode.DONE
    try:
        trio.run(_send, partial(_connect, settings, how, where), bodies, found)
    except* KeyboardInterrupt:
        ended = ExitCode.STOPPED_BY_SIGINT
    console = Console()
    (print_ramp if how.ramp else print_figures)(console, found)
    outputs.write(summary(found), partial(_draw, found))
    if ended is not ExitCode.DONE:
        return ended
    return ExitCode.DONE if found.is_good else ExitCode.NOT_MET


def _check(how: LoadFlags, objective: Objective) -> None:
    if how.callers is not None and (how.rate is not None or how.ramp):
        raise SettingError("--callers is a closed loop, --rate and --ramp are open ones; give one of them")
    if how.ramp != (objective != Objective()):
        raise SettingError(
            "--ramp goes with --p99 or --mean, which say what is to be met; give both or neither"
        )


def _bodies(text: str | None, given: BodyFlags) -> Sequence[Body]:
    if (text is not None) == given.is_given:
        raise SettingError("give the requests as one of TEXT, --body, --bodies and --field")
    return list(given.read().values()) if text is None else [Body(text.encode())]


@asynccontextmanager
async def _connect(
    settings: ConnectionSettings, how: LoadFlags, where: dict[str, Any]
) -> AsyncIterator[Call[Body]]:
    """Open all connections, and take the next one for each call."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(transport(settings))) for _ in range(how.connections)
        ]
        turns = itertools.cycle(clients)

        async def call(body: Body) -> Reply:
            content, content_type = body
            return await next(turns).call(content, content_type=content_type, timeout=how.timeout, **where)

        yield call


async def _send(connect: Any, bodies: Sequence[Body], found: Loaded) -> None:
    how = found.how
    with progress_bar() as progress:
        async with connect() as call:

            async def meets(rate: float) -> bool:
                step = Step(rate, Tally(trio.current_time() + how.warm_up))
                await _send_one(call, bodies, how, step, progress)
                found.steps.append(step)
                return found.meets(step)

            if how.ramp:
                found.highest = await find_highest(meets, how.rate or 1.0)
            else:  # it counts even if it is ended early
                found.steps.append(Step(how.rate, Tally(trio.current_time() + how.warm_up)))
                await _send_one(call, bodies, how, found.steps[0], progress)


async def _send_one(
    call: Call[Body], bodies: Sequence[Body], how: LoadFlags, step: Step, progress: Progress
) -> None:
    """Send one load, an open one if the step has a rate, and show how it goes."""
    unlimited = math.inf if how.requests is not None else SECONDS
    extent = Extent(how.seconds or unlimited, how.requests or math.inf)
    chosen = Random(how.seed)  # noqa: S311 - the same in every run
    drawn = (chosen.choice(bodies) for _ in itertools.repeat(None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show, step, extent, progress)
        if step.rate is None:
            await send_closed(call, drawn, extent, step.tally, callers=how.callers or 1)
        else:
            dice = Random(how.seed)  # noqa: S311 - the same in every run
            most = how.max_in_flight
            await send_open(call, drawn, extent, step.tally, rate=step.rate, dice=dice, most_in_flight=most)
        nursery.cancel_scope.cancel()


async def _show(step: Step, extent: Extent, progress: Progress) -> None:
    task, tally = progress.add_task("", total=1), step.tally
    while True:
        past = max(0.0, trio.current_time() - tally.since)
        share = max(past / extent.seconds, tally.requests / extent.requests)
        progress.update(task, description=progress_line(step, past), completed=min(1, share))
        await trio.sleep(REDRAWN)


def _draw(found: Loaded) -> Figure:
    from rpcb_trio._commands._charts import draw_load, draw_ramp  # noqa: PLC0415 - matplotlib is an extra

    if found.how.ramp:
        steps = {each.rate or 0.0: each.figures for each in found.steps}
        return draw_ramp(steps, found.objective, found.highest)
    figures = (found.steps[0] if found.steps else Step(None, Tally(math.inf))).figures
    return draw_load(load_title(found, figures), figures)
