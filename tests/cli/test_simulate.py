"""`simulate` plays an audit again, in virtual time, under the policy it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, MemoryBroker
from rpcb_trio.batching import Policy
from rpcb_trio.instruments import AuditInstrument
from tests.cli.conftest import Ended
from tests.scenarios import ANSWERS, Shouting, ask, working

Run = Callable[..., Ended]
SAME_DEVICE = ("--fixed-seconds=0.1", "--per-cost-seconds=0.02")
SAME_POLICY = ("--batching=fixed", "--max-wait=0.05")
GAPS = (0.0, 0.01, 0.02, 0.3, 0.04, 0.04, 0.04, 0.04, 0.5, 0.01, 0.01, 0.15)


class Costly(Shouting):
    def cost(self, item: str) -> float:
        return 1.0 + int(item.rsplit(maxsplit=1)[-1]) % 3


async def record(
    file: Path,
    *,
    worker: str,
    service: Shouting,
    policy: Policy,
    gaps: Sequence[float],
    expiration: float | None,
    callers: str | None,
) -> None:
    broker = MemoryBroker()
    audit = AuditInstrument(file, worker)
    taking = lambda size: 0.1 + 0.02 * size  # noqa: E731 - it is a formula
    async with working(
        service, broker, service_time=taking, batching=policy, prefetch=64, instruments=[audit]
    ) as running:
        for number, gap in enumerate(gaps):
            await trio.sleep(gap)
            reply_to = ANSWERS if callers is None else callers[number]
            broker.declare(reply_to)
            ask(broker, b"brief %d" % number, expiration=expiration, reply_to=reply_to)
        await running.until_settled(len(gaps))


def recording(
    file: Path,
    *,
    worker: str = "english",
    service: Shouting | None = None,
    policy: Policy | None = None,
    gaps: Sequence[float] = GAPS,
    expiration: float | None = None,
    callers: str | None = None,
) -> Path:
    """Append what a worker wrote that served in virtual time."""
    trio.run(
        partial(
            record,
            file,
            worker=worker,
            service=service or Shouting(),
            policy=policy or FixedPolicy(4, 0.05),
            gaps=gaps,
            expiration=expiration,
            callers=callers,
        ),
        clock=MockClock(autojump_threshold=0),
    )
    return file


def figures(run_command: Run, *argv: str | Path) -> tuple[dict[str, float], dict[str, float]]:
    """What was recorded, and what was simulated."""
    ended = run_command("simulate", *map(str, argv), "--figures=found.json")
    assert ended.code == 0, ended.err
    found = json.loads(Path("found.json").read_text())
    return found["recorded"], found["simulated"]


def refused(ended: Ended, *parts: str) -> None:
    assert ended.code == 2
    for part in parts:
        assert part in ended.line


def test_the_recorded_policy_on_the_recorded_device_gives_the_recorded_figures(
    run_command: Run, workplace: Path
) -> None:
    recorded, simulated = figures(run_command, recording(workplace / "a"), *SAME_POLICY, *SAME_DEVICE)
    assert simulated == pytest.approx(recorded)
    assert recorded["requests"] == recorded["served"] == len(GAPS)


def test_what_batches_took_is_learned_from_the_recording(run_command: Run, workplace: Path) -> None:
    recorded, simulated = figures(run_command, recording(workplace / "a"), *SAME_POLICY)
    assert simulated == pytest.approx(recorded)
    law = json.loads((workplace / "found.json").read_text())["law"]
    assert (law["fixed"], law["per_cost"]) == pytest.approx((0.1, 0.02))


def test_costs_come_as_they_were_recorded(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a", service=Costly(), policy=FixedPolicy(4, 0.05, max_batch_cost=4))
    recorded, simulated = figures(run_command, file, *SAME_POLICY, "--max-batch-cost=4", *SAME_DEVICE)
    assert simulated["batches"] == recorded["batches"]
    _, unbounded = figures(run_command, file, *SAME_POLICY, *SAME_DEVICE)
    assert unbounded["largest_batch"] > simulated["largest_batch"]


def test_another_policy_makes_other_batches_of_the_same_requests(run_command: Run, workplace: Path) -> None:
    recorded, simulated = figures(run_command, recording(workplace / "a"), "--max-batch-size=1")
    assert simulated["batches"] == simulated["requests"] == recorded["requests"]
    assert simulated["mean_batch_size"] == 1


def test_auto_is_the_policy_unless_another_is_named(run_command: Run, workplace: Path) -> None:
    ended = run_command("simulate", str(recording(workplace / "a")))
    assert ended.code == 0
    assert ["policy", "FixedPolicy", "AutoPolicy"] in [line.split() for line in ended.out.splitlines()]


def test_with_tenants_a_flood_no_longer_stands_before_the_others(run_command: Run, workplace: Path) -> None:
    flood = {"gaps": [0.0] * 40, "callers": "a" * 38 + "bb"}
    file = str(recording(workplace / "a", policy=FixedPolicy(4), **flood))  # type: ignore[arg-type] # both kinds
    how = (file, "--batching=fixed", *SAME_DEVICE, "--tenant=reply-to", "--figures=found.json")
    ended = run_command("simulate", *how, "--max-pending=64", "--weight=other=2")
    rows = [line.split()[-2:] for line in ended.out.splitlines() if "p99 of" in line]
    found = json.loads((workplace / "found.json").read_text())
    assert found["simulated"]["refused"] == 0
    assert found["p99_by_tenants"]["the busiest tenant"] == pytest.approx([1.9, 1.9], rel=0.2)
    before, after = found["p99_by_tenants"]["the others"]
    assert (before, after) == pytest.approx((1.9, 0.18), rel=0.2)
    assert len(rows) == 2
    ended = run_command("simulate", *how, "--max-pending=8")
    assert json.loads((workplace / "found.json").read_text())["simulated"]["refused"] == 40 - 8


def test_more_replicas_compute_at_once(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a", gaps=[0.0] * 12)
    _, one = figures(run_command, file, *SAME_DEVICE)
    _, three = figures(run_command, file, *SAME_DEVICE, "--replicas=3")
    assert three["p99"] < one["p99"]


def test_deadlines_count_from_arrival_as_when_recorded(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a", gaps=[0.0] * 12, expiration=0.15)
    recorded, simulated = figures(run_command, file, *SAME_POLICY, *SAME_DEVICE)
    assert simulated["expired"] == recorded["expired"] > 0
    _, faster = figures(run_command, file, *SAME_POLICY, "--fixed-seconds=0.01", "--per-cost-seconds=0")
    assert faster["expired"] == 0


def test_each_start_of_a_worker_is_played_on_its_own(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a")
    recording(file)
    recorded, simulated = figures(run_command, file, *SAME_POLICY, *SAME_DEVICE)
    assert simulated == pytest.approx(recorded)
    assert recorded["requests"] == 2 * len(GAPS)


def test_of_several_workers_one_is_chosen(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a")
    recording(file, worker="chinese", gaps=[0.0])
    refused(run_command("simulate", str(file)), "english, chinese", "--worker NAME")
    refused(run_command("simulate", str(file), "--worker=french"), "french", "english, chinese")
    recorded, _ = figures(run_command, file, "--worker=chinese", *SAME_DEVICE)
    assert recorded["requests"] == 1


def test_it_says_that_callers_in_lock_step_are_replayed_as_they_came(
    run_command: Run, workplace: Path
) -> None:
    assert (
        "are replayed at the recorded times" in run_command("simulate", str(recording(workplace / "a"))).out
    )
    assert "lock step" in run_command("simulate", "--help").out


def test_it_says_where_it_goes_beyond_what_was_recorded(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a", gaps=[*GAPS, *[0.0] * 20])
    assert "No batch above 4 was recorded" in run_command("simulate", str(file), "--max-batch-size=16").out


def test_a_chart_is_drawn(run_command: Run, workplace: Path) -> None:
    ended = run_command("simulate", str(recording(workplace / "a")), "--plot=chart.png")
    assert ended.code == 0
    assert (workplace / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_for_a_recording_of_batches_that_are_all_alike_it_must_be_given_what_batches_take(
    run_command: Run, workplace: Path
) -> None:
    file = recording(workplace / "a", policy=FixedPolicy(1))
    refused(run_command("simulate", str(file)), "too much alike", "--fixed-seconds and --per-cost-seconds")
    _, simulated = figures(run_command, file, *SAME_DEVICE)
    assert simulated["served"] == len(GAPS)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-wait=0.1"], ["--max-wait has no effect without --batching fixed"]),
        (["--batching=fixed", "--latency-objective=1"], ["--latency-objective", "without --batching auto"]),
        (["--fixed-seconds=0.1"], ["--per-cost-seconds", "both"]),
        (["--fixed-seconds=0", "--per-cost-seconds=0"], ["fixed-seconds 0"]),
        (["--fixed-seconds=nan", "--per-cost-seconds=0"], ["--fixed-seconds: nan"]),
        (["--replicas=0"], ["--replicas"]),
        (["--weight=gold=3"], ["--weight has no effect without --tenant"]),
        (["--tenant=x", "--max-pending=3"], ["max_pending is 3, but max_batch_size is 4"]),
        (["--figures=nowhere/found.json"], ["--figures", "nowhere/found.json"]),
    ],
)
def test_a_wrong_flag_is_one_line(
    flags: list[str], parts: list[str], run_command: Run, workplace: Path
) -> None:
    refused(run_command("simulate", str(recording(workplace / "a")), *flags), *parts)


def test_a_broken_line_is_named_with_its_number(run_command: Run, workplace: Path) -> None:
    file = recording(workplace / "a")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[-1][:40]]))
    refused(run_command("simulate", str(file)), f"{file}, line {len(lines) + 1}", "remove it")


def test_a_file_without_requests_is_refused(run_command: Run, workplace: Path) -> None:
    (workplace / "empty").touch()
    refused(run_command("simulate", "empty"), "empty, line 1", "--audit")
    recording(workplace / "idle", gaps=[])
    refused(run_command("simulate", "idle"), "no request of english")
    refused(run_command("simulate", "nowhere"), "nowhere", "can't be read")
