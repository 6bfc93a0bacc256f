"""The soak tells what is lost from what is not; and under all faults together nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.soak import __main__ as soak
from benches.soak.accounts import Accounts, Seen
from benches.soak.bodies import Kind, Result, checksum_of, read_item, request_body, result_body
from benches.soak.course import Phase
from benches.soak.endings import Again, Ending, Mark
from benches.soak.fleet import Life, growth
from benches.soak.plan import NEEDS_CONTROL, Fault, Plan, schedule
from benches.soak.run import FORGED_ARE_DROPPED
from tests.rabbitmq import Broker
from tests.scenarios import steady

SEED, SECONDS, PAUSE = 37, 7.0, 0.33
"""Faults of every kind, and the broker's restart among the first, for it takes longest."""


def a_plan(*, seconds: float = SECONDS, seed: int = SEED, pause: float = PAUSE) -> Plan:
    return Plan(seconds=seconds, seed=seed, pause=pause, patience=30.0, lethal=True, queue_type="classic")


def a_reply(number: int, kind: Kind, run: int = 1, **changes: Any) -> Seen:
    body = result_body(Result(number, checksum_of(number, kind), run))
    correlated = None if kind is Kind.BARE else number
    return msgspec.structs.replace(Seen(body=body, address=0, correlated=correlated), **changes)


def ending_of_the_only(accounts: Accounts) -> Ending:
    [(ending, _, _)] = accounts.endings()
    return ending


def test_a_request_of_which_nothing_is_heard_is_lost() -> None:
    accounts = Accounts()
    accounts.mark(accounts.send(Kind.PLAIN, 0), Mark.CONFIRMED)
    assert accounts.open == 1
    assert ending_of_the_only(accounts) is Ending.LOST
    [told] = accounts.lost()
    assert told.startswith("0 (PLAIN, producer 0")


@pytest.mark.parametrize(
    ("mark", "ending"),
    [
        (Mark.UNCONFIRMED, Ending.UNCONFIRMED),
        (Mark.GONE, Ending.GONE),
        (Mark.EXPIRED, Ending.EXPIRED),
        (Mark.QUEUED, Ending.QUEUED),
    ],
)
def test_what_is_known_of_a_request_is_how_it_ended_unless_it_was_answered_after_all(
    mark: Mark, ending: Ending
) -> None:
    accounts = Accounts()
    number = accounts.send(Kind.PLAIN, 0)
    accounts.mark(number, mark)
    assert accounts.open == 0
    assert ending_of_the_only(accounts) is ending
    accounts.reply(a_reply(number, Kind.PLAIN))
    assert ending_of_the_only(accounts) is Ending.ANSWERED
    assert not accounts.wrong
    assert not accounts.unexpected


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        (Kind.PLAIN, {"correlated": 1}, "another request's"),
        (Kind.PLAIN, {"correlated": None}, "missing"),
        (Kind.BARE, {"correlated": 0}, "invented"),
        (Kind.PLAIN, {"address": 1}, "sent to producer 1 instead of 0"),
        (Kind.PLAIN, {"body": result_body(Result(0, 0, 1))}, "saw another request"),
        (Kind.PLAIN, {"body": b"000000000000"}, "no reply of the service"),
        (Kind.PLAIN, {"correlated": 7}, "nobody asked"),
    ],
)
def test_a_reply_that_is_not_its_requests_own_is_wrong(
    kind: Kind, changes: dict[str, Any], fault: str
) -> None:
    accounts = Accounts()
    accounts.send(kind, 0)
    accounts.send(kind, 0)
    accounts.reply(a_reply(0, kind, **changes))
    [told] = accounts.wrong
    assert fault in told
    assert accounts.open == 2


@pytest.mark.parametrize(
    ("kind", "error", "is_due"),
    [
        (Kind.POISON, "infer", True),
        (Kind.GARBLED, "decode", True),
        (Kind.EXPIRING, "expired", True),
        (Kind.PLAIN, "infer", False),
        (Kind.PLAIN, "expired", False),
        (Kind.GARBLED, "infer", False),
        (Kind.POISON, None, False),
    ],
)
def test_an_error_is_due_to_its_own_kind_of_request_only(
    kind: Kind, error: str | None, *, is_due: bool
) -> None:
    accounts = Accounts()
    number = accounts.send(kind, 0)
    reply = a_reply(number, kind)
    accounts.reply(reply if error is None else msgspec.structs.replace(reply, body=b"an error", error=error))
    assert bool(accounts.unexpected) is not is_due
    assert not accounts.wrong


def test_only_what_is_forged_or_has_expired_may_be_among_the_dead_letters() -> None:
    accounts = Accounts()
    for kind, expired in ((Kind.FORGED, False), (Kind.EXPIRING, True), (Kind.PLAIN, False)):
        accounts.bury(request_body(accounts.send(kind, 0), kind), expired=expired)
    [told] = accounts.unexpected
    assert "PLAIN" in told
    assert accounts.open == 0


@pytest.mark.parametrize(
    ("run", "disturbed", "redelivered", "why"),
    [
        (2, True, False, Again.COMPUTED),
        (2, False, False, Again.UNEXPLAINED),
        (1, True, False, Again.SENT),
        (1, True, True, None),
    ],
)
def test_a_second_answer_is_counted_by_its_cause(
    run: int, *, disturbed: bool, redelivered: bool, why: Again | None
) -> None:
    accounts = Accounts(lambda _since, _until: disturbed)
    number = accounts.send(Kind.PLAIN, 0)
    accounts.reply(a_reply(number, Kind.PLAIN))
    accounts.reply(a_reply(number, Kind.PLAIN, run, redelivered=redelivered))
    assert accounts.again == ({why: 1} if why else {})


def test_a_dead_letter_whose_reply_was_not_confirmed_is_due_while_confirms_are_withheld() -> None:
    accounts = Accounts(withheld=lambda address, _since, _until: address == 0)
    for address in (0, 1):
        number = accounts.send(Kind.PLAIN, address)
        accounts.reply(msgspec.structs.replace(a_reply(number, Kind.PLAIN), address=address))
        accounts.bury(request_body(number, Kind.PLAIN), expired=False)
    assert accounts.buried_unconfirmed == 1
    [told] = accounts.unexpected
    assert "producer 1" in told


def test_latencies_are_of_plain_requests_by_the_phase_they_were_sent_in() -> None:
    accounts = Accounts()
    accounts.note_phase(Phase.QUIET)
    plain, bare = accounts.send(Kind.PLAIN, 0), accounts.send(Kind.BARE, 0)
    accounts.note_phase(Phase.STORM)
    accounts.reply(a_reply(plain, Kind.PLAIN))
    accounts.reply(a_reply(bare, Kind.BARE))
    assert [len(accounts.latencies[phase]) for phase in (Phase.QUIET, Phase.STORM)] == [1, 0]


def test_when_a_producers_address_is_gone_so_are_its_open_requests_and_no_others() -> None:
    accounts = Accounts()
    early, answered, lost, others = (accounts.send(Kind.PLAIN, address) for address in (0, 0, 0, 1))
    accounts.reply(a_reply(answered, Kind.PLAIN))
    accounts.lose_address(0, since=answered)
    assert accounts.waiting_at(0) == 1
    assert accounts.waiting_at(1) == 1
    accounts.mark(early, Mark.GONE)
    accounts.mark(others, Mark.GONE)
    assert lost == 2
    assert accounts.endings().total() == 4
    assert not accounts.lost()


@steady
@given(st.integers(0, 10**11), st.sampled_from([kind for kind in Kind if kind is not Kind.GARBLED]))
def test_a_request_says_its_number_and_kind_whatever_they_are(number: int, kind: Kind) -> None:
    item = read_item(request_body(number, kind))
    assert (item.number, item.kind) == (number, kind)
    assert item.checksum == checksum_of(number, kind)


@steady
@given(st.integers(0, 2**32), st.booleans())
def test_the_faults_follow_from_the_seed_and_a_round_has_all_kinds(seed: int, has_control: bool) -> None:  # noqa: FBT001 - of the parameters
    injections = schedule(a_plan(seconds=60, seed=seed, pause=1), has_control=has_control)
    assert injections == schedule(a_plan(seconds=60, seed=seed, pause=1), has_control=has_control)
    kinds = set(Fault) - (set() if has_control else set(NEEDS_CONTROL))
    assert {each.fault for each in injections} == kinds
    assert all(0 < each.at < 60 for each in injections)
    assert all(each.target for each in injections if each.fault in (Fault.KILL, Fault.TERM))


def a_life(memory: Callable[[float], float], begins: float = 0.0) -> Life:
    samples = [(begins + second, memory(second)) for second in range(90)]
    return Life(worker=0, pid=1, began=begins, samples=samples)


def test_growth_of_memory_is_told_from_warm_up_and_across_restarts() -> None:
    lives = [
        a_life(lambda second: 30 + min(second, 20)),
        a_life(lambda second: 10 + min(second, 20), begins=100),
    ]
    assert growth(lives) == pytest.approx((0, 0), abs=1e-6)
    lives = [a_life(lambda second: 30 + second / 60), a_life(lambda second: 90 + second / 60, begins=500)]
    assert growth(lives) == pytest.approx((60, 0), abs=1e-6)
    assert growth([]) is None


def test_nothing_is_lost_or_mixed_up_while_everything_fails(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "broker_at", lambda _url: nullcontext(broker))
    results, plot = tmp_path / "soak.json", tmp_path / "soak.png"
    code = soak.main(seconds=SECONDS, seed=SEED, pause=PAUSE, quiet=1, patience=60, json=results, plot=plot)
    printed = capsys.readouterr().out
    assert code == 0, printed
    [found] = json.loads(results.read_text())["results"]
    assert found["lost"] == 0
    assert found["wrong"] == found["unexpected"] == []
    assert found["bystanders"].keys() == {"no faults yet", "storm"}
    assert all(each["requests"] and each["p50"] <= each["p99"] for each in found["bystanders"].values())
    if broker.has_control:
        assert {each["fault"] for each in found["faults"]} == {fault.value for fault in Fault}
    kinds = {row["kind"] for row in found["rows"]}
    dropped = {Kind.FORGED} if broker.version >= FORGED_ARE_DROPPED else set()
    assert kinds == {kind.name.lower() for kind in set(Kind) - dropped}
    assert "Plain requests" in printed
    assert plot.stat().st_size > 0
    assert "Nothing lost, nothing mixed up." in printed
