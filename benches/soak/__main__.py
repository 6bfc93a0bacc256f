"""`python -m benches.soak`: workers under random faults, and every request accounted for."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import cyclopts
import msgspec
import trio

from benches.broker import broker_at
from benches.report import write_json
from benches.soak.chart import draw
from benches.soak.findings import Found, findings, problems
from benches.soak.plan import Plan
from benches.soak.run import NotStarted, soak
from benches.soak.show import show, watch


def measure(plan: Plan, url: str | None, logs: Path | None) -> Found:
    """Run a soak; the workers' logs are kept where a folder is given."""
    for library in ("aiormq", "pika"):  # of lost connections there will be many
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with broker_at(url) as broker, TemporaryDirectory(prefix="rpcb-soak-") as folder:
        kept = logs or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        try:
            return findings(trio.run(soak, broker, plan, kept, watch))
        except* Exception as group:  # noqa: BLE001 - nested so deep that a traceback would hide the cause
            failed = _first(group)
    if isinstance(failed, NotStarted):
        raise SystemExit(str(failed))
    raise failed


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def main(
    *,
    seconds: float = 60.0,
    seed: int = 0,
    pause: float = 1.5,
    quiet: float = 10.0,
    patience: float = 60.0,
    queue_type: Literal["classic", "quorum"] = "classic",
    lethal: bool = True,
    url: str | None = None,
    logs: Path | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Inject faults for a while, account for every request, and end with 1 if one was lost or mixed up.

    Args:
        seconds: how long faults are injected.
        seed: of the faults and the requests.
        pause: the mean time from one fault to the next, in seconds.
        quiet: how long requests are sent before the first fault, in seconds, to compare with.
        patience: how long all that is open may take once the last fault is lifted, in seconds.
        queue_type: of the workers' queue.
        lethal: whether some requests abort the workers that compute them, until these give them up.
        url: of a broker; without it a private node is started, which is stopped, started and alarmed too.
        logs: a folder to keep the workers' logs in.
        json: a file for the figures.
        plot: a file for a chart.
    """
    plan = Plan(
        seconds=seconds,
        seed=seed,
        pause=pause,
        quiet=quiet,
        patience=patience,
        lethal=lethal,
        queue_type=queue_type,
    )
    found = measure(plan, url, logs)
    wrong = list(problems(found, plan))
    show(found, plan, wrong)
    if json is not None:
        write_json(json, "soak", msgspec.structs.asdict(plan), [found])
    if plot is not None:
        draw(plot, found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(cyclopts.App(default_command=main)(result_action="return_value"))
