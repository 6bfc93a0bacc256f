"""In virtual time: requests and replies that can't be served as they are, each told so and harming nobody."""

from __future__ import annotations

import logging
from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock

from rpcb_trio import FixedPolicy, LogInstrument, MemoryBroker, SettingError, Topology, serve
from rpcb_trio.instruments import Settled
from tests.scenarios import QUEUE, Shouting, answers, ask, taken, working

DEAD = "dead"
KEEPING = Topology(queue=QUEUE, dead_letter_exchange="", dead_letter_routing_key=DEAD)


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.declare(DEAD)
    return broker


@pytest.mark.parametrize("no_reply_to", ["run", "dead-letter"])
async def test_a_request_that_names_nobody_is_run_or_kept_as_a_dead_letter_as_set(
    broker: MemoryBroker, no_reply_to: Literal["run", "dead-letter"], autojump_clock: MockClock
) -> None:
    service = Shouting()
    ask(broker, b"good 1", reply_to=None)
    ask(broker, b"good 2")
    async with working(service, broker, queue=KEEPING, no_reply_to=no_reply_to) as running:
        await running.until_settled(2)
    assert answers(broker) == {"2": b"ok:GOOD 2"}
    letters = [(letter.body, letter.headers["rpcb-dead-letter-reason"]) for letter in taken(broker, DEAD)]
    ran = sorted(item for run in service.runs for item in run)
    if no_reply_to == "run":
        assert (ran, letters) == (["good 1", "good 2"], [])
        assert running.endings == {Settled.NO_REPLY_TO: 1, Settled.REPLIED: 1}
    else:
        assert ran == ["good 2"]
        assert letters == [(b"good 1", "the request has no reply_to")]
        assert running.endings == {Settled.REJECTED: 1, Settled.REPLIED: 1}
        assert [error.code for _, error in running.refusals] == ["no-reply-to"]


async def test_the_log_does_not_claim_to_have_answered_who_named_nobody(
    broker: MemoryBroker, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ask(broker, b"sick 1", reply_to=None)
    async with working(Shouting(), broker, instruments=[LogInstrument()]) as running:
        await running.until_settled(1)
    assert "request '1' without reply_to failed (infer)" in caplog.text
    assert "answered with" not in caplog.text


async def test_a_body_that_is_too_big_is_refused_before_it_is_decoded_and_one_that_just_fits_is_served(
    broker: MemoryBroker, autojump_clock: MockClock
) -> None:
    ask(broker, b"good 1", b"good 22", b"\xff 333")
    async with working(Shouting(), broker, max_body_size=6) as running:
        await running.until_settled(3)
    assert answers(broker) == {"1": b"ok:GOOD 1", "22": b"failed:too-big", "333": b"failed:decode"}
    assert [str(error) for _, error in running.refusals if error.code == "too-big"] == [
        "the request has 7 bytes, and 6 are allowed (max_body_size)"
    ]


async def test_a_reply_that_is_too_big_becomes_an_error_and_its_batch_mates_are_answered(
    broker: MemoryBroker, autojump_clock: MockClock
) -> None:
    ask(broker, b"good 1", b"good 2 " + b"a" * 40 + b" 2")
    async with working(
        Shouting(), broker, batching=FixedPolicy(2, max_wait=1.0), max_reply_size=30
    ) as running:
        await running.until_settled(2)
    assert answers(broker) == {"1": b"ok:GOOD 1", "2": b"failed:reply-too-big"}
    assert [str(error) for _, error in running.failures] == [
        "the reply has 52 bytes, and 30 are allowed (max_reply_size)"
    ]


class Chatty(Shouting):
    """Says more of an error than it may."""

    def encode(self, outcome: Any) -> bytes:
        return super().encode(outcome) * 10


async def test_an_error_that_is_too_big_itself_is_told_in_plain_text(
    broker: MemoryBroker, autojump_clock: MockClock
) -> None:
    ask(broker, b"good 1")
    async with working(Chatty(), broker, max_reply_size=60) as running:
        await running.until_settled(1)
    assert answers(broker) == {
        "1": b"reply-too-big: the reply has 90 bytes, and 60 are allowed (max_reply_size)"
    }


@pytest.mark.parametrize("check_caller", [True, False])
async def test_who_has_gone_is_not_computed_where_that_is_checked(
    broker: MemoryBroker, *, check_caller: bool, autojump_clock: MockClock
) -> None:
    service = Shouting()
    ask(broker, b"good 1")
    ask(broker, b"good 2", reply_to="amq.rabbitmq.reply-to.no-such-caller")
    ask(broker, b"good 3", reply_to=None)
    async with working(service, broker, check_caller=check_caller) as running:
        await running.until_settled(3)
    ran = sorted(item for run in service.runs for item in run)
    assert ran == (["good 1", "good 3"] if check_caller else ["good 1", "good 2", "good 3"])
    assert running.endings == {Settled.REPLIED: 1, Settled.UNROUTABLE: 1, Settled.NO_REPLY_TO: 1}


@pytest.mark.parametrize(
    ("setting", "value"),
    [("no_reply_to", "drop"), ("max_body_size", 0), ("max_reply_size", -1), ("remember_replies", -1)],
)
async def test_a_wrong_setting_is_named(broker: MemoryBroker, setting: str, value: object) -> None:
    wrong: dict[str, Any] = {setting: value}
    with pytest.raises(SettingError, match=f"{setting} is {value!r}"):
        await serve(Shouting(), broker, QUEUE, **wrong)


async def test_no_log_line_shows_where_a_direct_caller_can_be_reached(
    broker: MemoryBroker, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rpcb_trio")
    ask(broker, b"sick 1", b"good 2", reply_to="amq.rabbitmq.reply-to.secret")
    async with working(
        Shouting(), broker, check_caller=False, remember_replies=1, instruments=[LogInstrument()]
    ) as running:
        await running.until_settled(2)
        ask(broker, b"good 2", reply_to="amq.rabbitmq.reply-to.secret")
        await running.until_settled(3)
        await trio.sleep(1)
    assert caplog.text.count("'amq.rabbitmq.reply-to....' (caller ") >= 3
    assert "secret" not in caplog.text
