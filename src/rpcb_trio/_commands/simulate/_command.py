"""The command `simulate`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from rich.console import Console

from rpcb_trio._bounds import COUNT, FINITE, FINITE_OR_0, POSITIVE
from rpcb_trio._commands._exits import ExitCode
from rpcb_trio._commands._outputs import OutputFlags, Outputs, progress_bar
from rpcb_trio._commands._settings._parameters import flag
from rpcb_trio._commands._settings._partners import check_partners
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import SECONDS
from rpcb_trio._commands.serve._setup import policy_of, shares_of
from rpcb_trio._commands.simulate._report import Replayed, print_replayed, replay_title, summary
from rpcb_trio._measure import Recording, ServiceLaw, law_by_hand, recorded, replay
from rpcb_trio._pipeline import checked_intake
from rpcb_trio.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDING = Group("Recording", sort_key=0)
POLICY = Group("Policy", sort_key=1)
DEVICE = Group("Device", sort_key=2)


@dataclass(frozen=True, kw_only=True)
class ReplayFlags:
    """What is replayed, under which policy and on which device. What is not given is as it was recorded."""

    worker: Annotated[str | None, flag(RECORDING, metavar="NAME")] = None
    """Whose part of the file; needed where several wrote it."""
    batching: Annotated[Literal["auto", "fixed"], flag(POLICY)] = "auto"
    """The policy, as serve takes it."""
    max_batch_size: Annotated[int | None, flag(POLICY, metavar="N", bounds=COUNT)] = None
    """The most requests in one batch; without it, as recorded."""
    max_wait: Annotated[
        float | None,
        flag(POLICY, unit=SECONDS, bounds=FINITE_OR_0, shown=False, needs="batching = fixed"),
    ] = None
    """For fixed: how long a batch waits to fill."""
    max_batch_cost: Annotated[float | None, flag(POLICY, metavar="COST", bounds=POSITIVE)] = None
    """The most padded cost of a batch."""
    latency_objective: Annotated[
        float | None, flag(POLICY, unit=SECONDS, bounds=FINITE, shown=False, needs="batching = auto")
    ] = None
    """For auto: the latency to fill batches for."""
    max_pending: Annotated[int | None, flag(POLICY, metavar="N", bounds=COUNT)] = None
    """The most requests that wait; without it, any number, or with --tenant as serve has it."""
    tenant: Annotated[str | None, flag(POLICY, metavar="HEADER")] = None
    """Share the device among tenants, as serve does: reply-to for the recorded callers; else the recorded
    tenants."""
    weight: Annotated[tuple[str, ...], flag(POLICY, metavar="TENANT=N", shown=False, needs="tenant")] = ()
    """With --tenant: how many shares a tenant has, where it is not 1. Repeatable."""
    replicas: Annotated[int | None, flag(DEVICE, metavar="N", bounds=COUNT)] = None
    """How many batches are computed at once, none slower for the others; without it, as recorded."""
    fixed_seconds: Annotated[float | None, flag(DEVICE, unit=SECONDS, shown=False)] = None
    """What any batch takes; without it, as batches took when recorded."""
    per_cost_seconds: Annotated[float | None, flag(DEVICE, unit=SECONDS, shown=False)] = None
    """What each unit of padded cost adds; that is the batch's size times its largest cost."""


def simulate(
    audit_file: Annotated[Path, flag(RECORDING, "What serve --audit wrote.")],
    /,
    *,
    how: Annotated[ReplayFlags, Parameter(name="*")] = ReplayFlags(),
    outputs: Outputs = OutputFlags(),
) -> int:
    """Replay an audit file under another policy, in virtual time.

    The requests arrive at the recorded times, with their costs, priorities, deadlines and callers.
    Callers in lock step, which send again when they have their reply, would have sent at other times under
    another policy; they are replayed at the recorded times all the same.
    """
    check_partners(how)
    outputs = outputs.checked()
    recording = recorded(audit_file, how.worker)
    settings = Settings(
        batching=how.batching,
        max_batch_size=how.max_batch_size or recording.max_batch_size,
        max_wait=how.max_wait,
        max_batch_cost=how.max_batch_cost,
        latency_objective=how.latency_objective,
        max_pending=how.max_pending,
        tenant=how.tenant,
        weight=how.weight,
        replicas=how.replicas or recording.replicas,
    )
    found = _replayed(recording, settings, _law(recording, how.fixed_seconds, how.per_cost_seconds))
    print_replayed(Console(), found)
    outputs.write(summary(found), partial(_draw, found))
    return ExitCode.DONE


def _law(recording: Recording, fixed: float | None, per_cost: float | None) -> ServiceLaw:
    if fixed is None and per_cost is None:
        return recording.law()
    if fixed is None or per_cost is None:
        raise SettingError("--fixed-seconds and --per-cost-seconds belong together; give both or neither")
    return law_by_hand(fixed, per_cost)


def _replayed(recording: Recording, settings: Settings, law: ServiceLaw) -> Replayed:
    max_pending, shares = settings.max_pending, shares_of(settings)
    if shares is not None:
        _, max_pending = checked_intake(
            None, max_pending, shares, max_batch_size=settings.max_batch_size, executors=settings.replicas
        )
    policy = partial(policy_of, settings)
    with progress_bar() as progress:
        progress.add_task("simulating", total=None)
        before, after = replay(
            recording, policy, law, settings.replicas, shares=shares, max_pending=max_pending
        )
    return Replayed(recording, settings, law, before, after)


def _draw(found: Replayed) -> Figure:
    from rpcb_trio._commands._charts import draw_replay  # noqa: PLC0415 - matplotlib is an extra, and slow

    return draw_replay(replay_title(found), found.recorded.latencies, found.simulated.latencies)
