"""The command `load`."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from rpcb_trio._client import open_client
from rpcb_trio._commands._bodies import read_bodies
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._outputs import (
    JsonPath,
    PlotPath,
    check_outputs,
    progress_bar,
    write_json,
    write_plot,
)
from rpcb_trio._commands._settings._broker import transport
from rpcb_trio._commands._settings._destination import Exchange, RoutingKey, route
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._shared import ConfigPath, ConnectionSettings, QueueSettings
from rpcb_trio._commands.load._flags import REQUESTS, BodyFlags, LoadFlags, WantedFlags
from rpcb_trio._commands.load._report import (
    Loaded,
    Step,
    load_title,
    print_figures,
    print_ramp,
    progress_line,
    summary,
)
from rpcb_trio._errors import SettingError
from rpcb_trio._measure import Call, Extent, Tally, find_highest, send_closed, send_open
from rpcb_trio._messages import Reply

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 10.0
REDRAWN = 0.25
"""Seconds."""


def load(
    text: Annotated[str | None, flag(REQUESTS, "The requests' body, as UTF-8.", shown=False)] = None,
    *,
    given: Annotated[BodyFlags, Parameter(name="*")] = BodyFlags(),
    exchange: Exchange = "",
    routing_key: RoutingKey = None,
    how: Annotated[LoadFlags, Parameter(name="*")] = LoadFlags(),
    wanted: Annotated[WantedFlags, Parameter(name="*")] = WantedFlags(),
    plot: PlotPath = None,
    json: JsonPath = None,
    config: ConfigPath = None,  # noqa: ARG001 - was read to fill in the other settings
    settings: Annotated[QueueSettings, Parameter(name="*")] = QueueSettings(),
) -> int:
    """Send a load to a worker, and tell what its callers would see.

    Latency counts from when a request was due: a load that can't be sent in time, or a service that falls
    behind, shows in it. On a Ctrl-C it tells what is known so far.
    """
    _check(how, wanted)
    check_outputs(plot, json)
    bodies = _bodies(text, given)
    where = route(settings.queue, exchange, routing_key)
    found = Loaded(how, wanted)
    ended = _run(partial(_sent, partial(_connect, settings, how, where), bodies, found))
    console = Console()
    (print_ramp if how.ramp else print_figures)(console, found)
    if json is not None:
        write_json(json, summary(found))
    if plot is not None:
        write_plot(plot, partial(_draw, found))
    if ended is not ExitCode.DONE:
        return ended
    return ExitCode.DONE if found.is_good else ExitCode.NOT_MET


def _check(how: LoadFlags, wanted: WantedFlags) -> None:
    if how.callers is not None and (how.rate is not None or how.ramp):
        raise SettingError("--callers is a closed loop, --rate and --ramp are open ones; give one of them")
    if wanted.p99 is not None and wanted.mean is not None:
        raise SettingError("--p99 and --mean exclude each other; give one of them")
    if how.ramp != (wanted.p99 is not None or wanted.mean is not None):
        raise SettingError(
            "--ramp goes with --p99 or --mean, which say what is to be met; give both or neither"
        )


def _bodies(text: str | None, given: BodyFlags) -> list[bytes]:
    if (text is not None) + bool(given.body) + bool(given.field) != 1:
        raise SettingError("give the requests as one of TEXT, --body and --field")
    if text is not None:
        return [text.encode()]
    return list(read_bodies(given.body, None, given.field).values())


def _run(sent: Callable[[], Awaitable[None]]) -> ExitCode:
    code = ExitCode.DONE
    try:
        trio.run(sent)
    except* KeyboardInterrupt:
        code = ExitCode.STOPPED_BY_SIGINT
    return code


@asynccontextmanager
async def _connect(
    connection: ConnectionSettings, how: LoadFlags, where: dict[str, Any]
) -> AsyncIterator[Call]:
    """Open all connections, and take the next one for each call."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(transport(connection)))
            for _ in range(how.connections)
        ]
        turns = itertools.cycle(clients)

        async def call(body: bytes) -> Reply:
            return await next(turns).call(body, timeout=how.timeout, **where)

        yield call


async def _sent(connect: Callable[[], Any], bodies: Sequence[bytes], found: Loaded) -> None:
    with progress_bar() as progress:
        async with connect() as call:
            sender = Sender(call, bodies, found, progress)
            if found.how.ramp:
                await _ramp(sender, found)
            else:
                await sender.send(found.how.rate)


async def _ramp(sender: Sender, found: Loaded) -> None:
    async def meets(rate: float) -> bool:
        return found.meets(await sender.send(rate))

    found.highest = await find_highest(meets, found.how.rate or 1.0)


@dataclass
class Sender:
    """Sends loads, one after the other, and shows how they go."""

    call: Call
    bodies: Sequence[bytes]
    found: Loaded
    progress: Progress

    async def send(self, rate: float | None) -> Step:
        """Send one load: an open one at a rate, or a closed one. What is cut short counts as well."""
        tally = Tally(trio.current_time() + self.found.how.warm_up)
        self.found.steps.append(step := Step(rate, tally))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, tally, rate)
            await self._loop(rate, tally)
            nursery.cancel_scope.cancel()
        return step

    def _loop(self, rate: float | None, tally: Tally) -> Awaitable[None]:
        how = self.found.how
        dice = Random(how.seed)  # noqa: S311 - the same in every run
        bodies = self._drawn(Random(how.seed))  # noqa: S311 - as well
        if rate is None:
            return send_closed(self.call, bodies, self._extent, tally, callers=how.callers or 1)
        most = how.max_in_flight
        return send_open(self.call, bodies, self._extent, tally, rate=rate, dice=dice, most_in_flight=most)

    def _drawn(self, dice: Random) -> Iterator[bytes]:
        while True:
            yield dice.choice(self.bodies)

    @property
    def _extent(self) -> Extent:
        how = self.found.how
        unlimited = math.inf if how.requests is not None else SECONDS
        return Extent(how.seconds or unlimited, how.requests or math.inf)

    async def _show(self, tally: Tally, rate: float | None) -> None:
        extent = self._extent
        task = self.progress.add_task("", total=1)
        while True:
            past = max(0.0, trio.current_time() - tally.since)
            share = max(past / extent.seconds, tally.requests / extent.requests)
            self.progress.update(task, description=progress_line(tally, rate, past), completed=min(1, share))
            await trio.sleep(REDRAWN)


def _draw(found: Loaded) -> Figure:
    from rpcb_trio._commands._charts import draw_load, draw_ramp  # noqa: PLC0415 - matplotlib is an extra

    if found.how.ramp:
        steps = {each.rate or 0.0: each.figures for each in found.steps}
        return draw_ramp(steps, found.objective, found.highest)
    figures = (found.steps[0] if found.steps else Step(None, Tally(math.inf))).figures
    return draw_load(load_title(found, figures), figures)
