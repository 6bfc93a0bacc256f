"""The command `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from rpcb_trio._commands._bodies import REQUEST, Body, RequestFlags
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._logs import write_logs
from rpcb_trio._commands._outputs import new_table, say
from rpcb_trio._commands._settings._broker import shown_url, transport
from rpcb_trio._commands._settings._parameters import SERVICE, flag, setting
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import (
    ConfigPath,
    ControlSettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    Workers,
)
from rpcb_trio._commands._settings._sources import Sources, unknown_variables
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands.doctor._checkup import examine, send_through
from rpcb_trio._commands.doctor._findings import Finding, Level, of_ack_time, ok, problem, warning
from rpcb_trio._commands.serve._setup import topology
from rpcb_trio._commands.serve._target import load_service
from rpcb_trio._executors import refuse_missing_device
from rpcb_trio._shown import on_one_line
from rpcb_trio.errors import BrokerError, SettingError

END = "correct that: serve would end with this line"

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def doctor(
    target: Annotated[
        str | None, setting(SERVICE, help="A service, to see whether it can be loaded.", common=True)
    ] = None,
    *,
    send: Annotated[
        str | None, flag(REQUEST, "Send a request with this body through, as UTF-8.", "TEXT")
    ] = None,
    given: RequestFlags = RequestFlags(),
    config: ConfigPath = None,  # noqa: ARG001 - `Sources` has read it
    worker: Workers = (),
    settings: Settings = Settings(),
    log: Annotated[LogSettings, Parameter(name="*", show=False)] = LogSettings(),  # noqa: ARG001 - it takes the flags of serve
    probes: Annotated[HealthSettings, Parameter(name="*", show=False)] = HealthSettings(),
    metrics: MetricsSettings = MetricsSettings(),
    control: ControlSettings = ControlSettings(),
    sources: Annotated[Sources, Parameter(parse=False)],
) -> int:
    """Check whether a worker with these settings would work, and say what to change.

    It takes the settings of serve, changes nothing at the broker, and sends a request only when asked to. It
    ends with 0 if it finds no problem; warnings do not count.
    """
    write_logs(LogSettings(log_level="error"))
    check_partners(probes, metrics, control)
    body = given.read(send, "--send")
    console = Console()
    found_problem = False
    chosen = list(_chosen(target, settings, worker, sources))
    for name, each_target, each in chosen:
        needed = _connections([other for _, _, other in chosen if shown_url(other) == shown_url(each)])
        findings = [*_of_variables(), *_of_service(each_target, each), *_of_devices(each)]
        findings += trio.run(_examine, each, needed, body, given.timeout)
        _print(console, name, each, findings)
        found_problem |= any(finding.level is Level.PROBLEM for finding in findings)
    return ExitCode.PROBLEMS_FOUND if found_problem else ExitCode.DONE


def _chosen(
    target: str | None, settings: Settings, workers: Sequence[str], sources: Sources
) -> Iterator[tuple[str, str | None, Settings]]:
    """The worker that flags describe, or those of the file."""
    names = [] if target is not None or (settings.queue and not workers) else sources.file.select(workers)
    if names:
        for name in names:
            yield name, *sources.of_worker(Settings, name)
        return
    if not settings.queue:
        raise SettingError("queue is missing; give --queue, RPCB_QUEUE, or queue in rpcb.toml")
    yield settings.queue, target, settings


def _of_service(target: str | None, settings: Settings) -> Iterator[Finding]:
    if target is None:
        return
    try:
        load_service(target, as_they_look("option", settings.option))
    except SettingError as error:
        yield problem("service", str(error), END)
    else:
        yield ok("service", f"{target} can be loaded")


def _of_variables() -> Iterator[Finding]:
    for line in unknown_variables():
        yield warning("variable", line, "rename it, or unset it")


def _of_devices(settings: Settings) -> Iterator[Finding]:
    for device in dict.fromkeys(settings.device):
        try:
            refuse_missing_device(device)
        except SettingError as error:
            yield problem("device", str(error), END)
        else:
            yield ok("device", f"torch can use {device}" if device != "cpu" else "cpu")


def _connections(workers: Sequence[Settings]) -> dict[str, int]:
    """The connections of a process with these workers, by their roles, and how many channels each opens."""
    needed = dict[str, int]()
    for each in workers:
        roles = {"in": 2 if each.cancel else 1, "out": 2}
        if each.check_caller:
            roles["check"] = 1
        if each.events is not None:
            roles["events"] = 1
        of_whom = f" of {each.queue}" if len(workers) > 1 else ""
        needed |= {f"{role}{of_whom}": channels for role, channels in roles.items()}
    return needed


async def _examine(
    settings: Settings, connections: Mapping[str, int], body: Body | None, seconds: float
) -> list[Finding]:
    way = transport(settings, name="doctor")
    wanted, findings = topology(settings), [of_ack_time(settings)]
    try:
        async with way.open_examination() as asked:
            findings = [of_ack_time(settings, asked.broker)]
            async for finding in examine(asked, wanted, settings, connections=connections):
                findings.append(finding)
        if body is not None:
            findings.append(await send_through(way, settings, body, seconds))
    except BrokerError as error:
        findings.append(
            problem("connection", str(error), "correct this first: all other checks need a connection")
        )
    return findings


def _print(console: Console, name: str, settings: Settings, findings: Sequence[Finding]) -> None:
    table = new_table(f"{name}: queue {settings.queue} of {shown_url(settings)}")
    for column in ("", "what", "found", "to change"):
        table.add_column(column, overflow="fold")
    for each in findings:
        cells = (Text(on_one_line(text)) for text in (each.what, each.found, each.remedy))
        table.add_row(Text(each.level, style=STYLES[each.level]), *cells)
    console.print(table)
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    ending = {level: "" if level is Level.OK or count == 1 else "s" for level, count in counts.items()}
    say(console, ", ".join(f"{count} {level}{ending[level]}" for level, count in counts.items()) + "\n")
