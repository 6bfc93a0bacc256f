"""A soak for people: live while it runs, and its table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from benches.report import print_table
from benches.soak.endings import Ending
from benches.soak.findings import Found, code_text
from benches.soak.plan import Plan
from benches.soak.run import NAMES, Soak

REFRESH = 0.5
LATEST = 5
ENDS = (60, 600)
"""Seconds: below the first no growth of memory can be told at all, below the second hardly."""


async def watch(soak: Soak) -> None:
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            live.update(_state(soak), refresh=True)
            await trio.sleep(REFRESH)


def _state(soak: Soak) -> Table:
    accounts, fleet = soak.accounts, soak.fleet
    grid = Table.grid(padding=(0, 2))
    now = time.monotonic()
    began = fleet.lives[0].began if fleet.lives else now
    last = max(accounts.answered_in, default=0)
    rate = accounts.answered_in[last - 1]
    grid.add_row(
        soak.course.phase, f"{now - began:.0f} s (storm: {soak.plan.seconds:g} s, seed {soak.plan.seed})"
    )
    grid.add_row("requests", f"{accounts.sent} sent, {accounts.open} open, {rate} replies/s")
    wrong, unexpected = len(accounts.wrong), len(accounts.unexpected)
    colour = "red" if wrong or unexpected else "green"
    grid.add_row("faulty", f"[{colour}]{wrong} wrong, {unexpected} unexpected[/]")
    for life in sorted(fleet.current(), key=lambda life: life.worker):
        memory = f"{life.samples[-1][1]:.0f} MiB" if life.samples else ""
        grid.add_row(f"worker {life.worker}", f"pid {life.pid}, for {now - life.began:.0f} s, {memory}")
    for each in soak.injector.injected[-LATEST:]:
        lasts = "" if each.lifted is not None else " [yellow]now[/]"
        grid.add_row(f"{each.began - began:.1f} s", f"{each.fault} ({each.target}){lasts}")
    return grid


def show(found: Found, plan: Plan, problems: Sequence[str]) -> None:
    print_table(
        f"Soak of {plan.seconds:g} s, seed {plan.seed}, {plan.queue_type} queue",
        _caption(found),
        ("ending", *NAMES, "all"),
        [_row(found, ending) for ending in Ending if found.total(ending) or ending is Ending.LOST],
    )
    print_table(
        "Plain requests, without faults and among them",
        "milliseconds from sending to the first reply",
        ("", "requests", "p50", "p99"),
        [
            (phase, str(each.requests), f"{each.p50:.1f}", f"{each.p99:.1f}")
            for phase, each in found.bystanders.items()
        ],
    )
    faults = Counter(each.fault for each in found.faults)
    print_table("Faults injected", "", ("fault", "times"), [(name, str(n)) for name, n in faults.items()])
    print_table(
        "Workers",
        _growth(found),
        ("worker", "lives", "ended by", "MiB at first", "MiB at last", "most MiB"),
        [_worker(found, worker) for worker in sorted({life.worker for life in found.lives})],
    )
    console = Console()
    for remark in (*found.first_lost, *filter(None, found.wrong), *filter(None, found.unexpected)):
        console.print(remark, style="red", markup=False)
    for problem in problems:
        console.print(f"NOT WELL: {problem}", style="bold red", markup=False)
    if not problems:
        console.print("Nothing lost, nothing mixed up.", style="bold green")


def _row(found: Found, ending: Ending) -> tuple[str, ...]:
    by_producer: Counter[str] = Counter()
    for row in found.rows:
        if row.ending == ending.value:
            by_producer[row.producer] += row.requests
    return (ending.value, *(str(by_producer[name]) for name in NAMES), str(by_producer.total()))


def _caption(found: Found) -> str:
    again = "; ".join(f"{why}: {count}" for why, count in found.again.items())
    return (
        f"{found.requests} requests, {found.answered_per_second:.0f} replies/s in the storm. "
        f"Replies to the wrong request: {len(found.wrong)}. Unexpected ends: {len(found.unexpected)}.\n"
        f"Answered more than once: {again}. Dead-lettered twice: {found.buried_again}; "
        f"since their replies were not confirmed: {found.buried_unconfirmed}.\n"
        "error reply: the one that is due. caller gone: its reply address went with its connection. "
        "unconfirmed: the broker never said that it has the request."
    )


def _worker(found: Found, worker: int) -> tuple[str, ...]:
    lives = [life for life in found.lives if life.worker == worker]
    memory = [each for life in lives for _, each in life.memory[1:]] or [0.0]
    endings = Counter(code_text(life.code) for life in lives)
    ended = ", ".join(f"{count} x {how}" for how, count in endings.items())
    figures = (memory[0], memory[-1], max(memory))
    return (f"{worker}", f"{len(lives)}", ended, *(f"{each:.0f}" for each in figures))


def _growth(found: Found) -> str:
    longest = max(
        (life.memory[-1][0] - life.memory[0][0] for life in found.lives if life.memory), default=0.0
    )
    if found.growth_mib_per_hour is None or longest < ENDS[0]:
        return "Too short to tell whether memory grows."
    hardly = " (hardly to be told from a run this short)" if longest < ENDS[1] else ""
    return (
        f"Memory grows by {found.growth_mib_per_hour:.1f} MiB an hour, standard error "
        f"{found.growth_standard_error:.1f}{hardly}. The first third of each life is warm-up."
    )
