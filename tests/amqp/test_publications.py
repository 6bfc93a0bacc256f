"""Each message that is published learns once what became of it, whatever the broker says and when."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rpcb_trio._transports._amqp._data._closing import Closing
from rpcb_trio._transports._amqp._data._publications import (
    CONFIRMED,
    NACKED,
    OPEN,
    RETURNED,
    UNCONFIRMED,
    Publication,
    PublishResult,
    PublishStatus,
    wait_for_results,
)
from rpcb_trio._transports._codec._frames import Returned
from rpcb_trio._transports._codec._properties import Properties
from tests.amqp.counting import CountingBroker
from tests.scenarios import steady

FAULT = Closing("the broker did not like it", 541, is_fault=True)
CHANNEL_FAULT = Closing("not found", 404, is_fault=True, is_of_connection=False)
SHUTDOWN = Closing("the broker shuts down", 320)


class Recorded(Publication, kw_only=True):
    """Records each time that it is told what became of it."""

    told: list[PublishResult]

    def finish(self, result: PublishResult) -> None:
        super().finish(result)
        self.told.append(result)


class Model:
    """What should become of each message, told with as little art as possible."""

    def __init__(self) -> None:
        self.broker = CountingBroker()
        self.expected: dict[int, PublishResult] = {}
        self.told: dict[int, list[PublishResult]] = {}
        self.waiting: dict[int, int] = {}
        """The numbers of messages on their way, by tag."""
        self.closing: Closing | None = None
        self._number = 0

    def _write(self, properties: Properties, *, mandatory: bool) -> None:
        told = self.told.setdefault(self._number, [])
        self.broker.publish(Recorded(b"body", properties, "queue", mandatory=mandatory, told=told))

    def publish(self, name: str | None, *, mandatory: bool) -> None:
        self._number += 1
        taken = {self.broker.ids[tag] for tag in self.waiting}
        self._write(Properties(message_id=name), mandatory=mandatory)
        if self.closing is not None:
            self.expected[self._number] = PublishResult(PublishStatus.LOST, self.closing.why)
            return
        tag = self.broker.newest
        self.waiting[tag] = self._number
        if mandatory:
            given, wanted = self.broker.ids[tag], name
            assert given is not None
            assert given not in taken, "each is known again when it comes back"
            assert wanted is None or wanted in taken or given == wanted, "else it keeps its own"

    def publish_what_can_not_be_sent(self) -> None:
        self._number += 1
        self._write(Properties(correlation_id="x" * 256), mandatory=True)
        if self.closing is not None:
            self.expected[self._number] = PublishResult(PublishStatus.LOST, self.closing.why)
        else:
            [result] = self.told[self._number]
            assert result.status is PublishStatus.UNSENDABLE
            self.expected[self._number] = result

    def confirm(self, choice: int, *, multiple: bool, is_taken: bool) -> None:
        tag = choice % (self.broker.newest + 2)  # also one that was never published
        self.broker.confirm(tag, multiple=multiple, is_taken=is_taken)
        for each in [each for each in self.waiting if each == tag or (multiple and each < tag)]:
            self.expected[self.waiting.pop(each)] = CONFIRMED if is_taken else NACKED

    def bring_back(self, choice: int) -> None:
        returnable = [tag for tag in self.waiting if self.broker.ids[tag] is not None]
        self.broker.bring_back("of another")
        if returnable:
            tag = returnable[choice % len(returnable)]
            self.broker.bring_back(self.broker.ids[tag])
            self.expected[self.waiting.pop(tag)] = RETURNED

    def close(self, closing: Closing) -> None:
        if self.closing is None:
            self.closing = closing
            self.broker.channel.close(closing)
            status = PublishStatus.BLAMED if closing.is_fault else PublishStatus.LOST
            is_poison = closing.is_fault and closing.is_of_connection
            for number in self.waiting.values():
                self.expected[number] = PublishResult(status, closing.why, is_poison=is_poison)
            self.waiting.clear()


Step = tuple[str, tuple[object, ...], dict[str, object]]


def step(
    name: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]
) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*args), st.fixed_dictionaries(dict(kwargs)))


choices = st.integers(0, 50)
publishing = step("publish", st.sampled_from([None, "a", "b"]), mandatory=st.booleans())
steps = st.one_of(
    publishing,
    publishing,
    step("publish_what_can_not_be_sent"),
    step("confirm", choices, multiple=st.booleans(), is_taken=st.booleans()),
    step("bring_back", choices),
)
endings = st.lists(step("close", st.sampled_from([FAULT, CHANNEL_FAULT, SHUTDOWN])), max_size=1)


@given(st.lists(steps, max_size=30), endings, st.lists(publishing, max_size=2))
@steady
def test_each_message_is_told_once_what_became_of_it_and_nothing_of_it_is_kept(
    before: list[Step], ending: list[Step], after: list[Step]
) -> None:
    model = Model()
    for name, args, kwargs in (*before, *ending, *after):
        getattr(model, name)(*args, **kwargs)
    model.close(SHUTDOWN)
    assert model.told == {number: [result] for number, result in model.expected.items()}
    channel = model.broker.channel
    assert (channel._unconfirmed, channel._returnable) == ({}, {})


def message(**properties: Any) -> Publication:
    return Publication(b"body", Properties(**properties), "queue")


async def results(*publications: Publication) -> list[PublishResult]:
    with trio.fail_after(60):
        await wait_for_results(publications)
    return [each.result for each in publications]


async def test_the_results_of_a_batch_are_waited_for_until_all_are_known() -> None:
    broker, batch = CountingBroker(), [message(), message(), message()]
    broker.publish(*batch)
    broker.confirm(3)
    broker.bring_back(broker.ids[2])
    broker.confirm(2)
    with trio.move_on_after(0) as scope:
        await wait_for_results(batch)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_results, batch)
        nursery.start_soon(wait_for_results, batch)
        await trio.testing.wait_all_tasks_blocked()
        broker.confirm(1, is_taken=False)
    assert await results(*batch) == [NACKED, RETURNED, CONFIRMED]
    assert await results() == []


async def test_the_results_of_a_batch_are_waited_for_no_longer_than_asked(autojump_clock: MockClock) -> None:
    broker, batch = CountingBroker(), [message(), message()]
    broker.publish(*batch)
    broker.confirm(1)
    await wait_for_results(batch, 5.0)
    assert trio.current_time() == 5.0
    assert [each.result for each in batch] == [CONFIRMED, OPEN]


async def test_a_message_that_is_given_up_hears_of_no_confirm_and_nothing_of_it_is_kept() -> None:
    broker, given_up, other = CountingBroker(), message(message_id="mine"), message()
    broker.publish(given_up, other)
    given_up.give_up()
    broker.bring_back("mine")
    broker.confirm(2, multiple=True)
    assert (given_up.result, other.result) == (UNCONFIRMED, CONFIRMED)
    assert (broker.channel._unconfirmed, broker.channel._returnable) == ({}, {})


async def test_a_message_that_amqp_can_not_carry_takes_no_place_in_the_brokers_count() -> None:
    broker, unsendable, sent = CountingBroker(), message(correlation_id="x" * 256), message()
    broker.publish(unsendable, sent)
    broker.confirm(1)
    assert sent.result == CONFIRMED
    assert unsendable.result.status is PublishStatus.UNSENDABLE
    assert "can't be put into AMQP" in unsendable.result.why


async def test_a_returned_message_stays_returned_when_its_confirm_follows() -> None:
    broker, mine = CountingBroker(), message(message_id="mine")
    broker.publish(mine)
    assert broker.ids == {1: "mine"}
    broker.bring_back("mine")
    broker.confirm(1)
    assert mine.result == RETURNED


async def test_messages_of_one_id_are_told_apart_when_one_comes_back() -> None:
    broker, first, second = CountingBroker(), message(message_id="same"), message(message_id="same")
    broker.publish(first, second)
    broker.bring_back(broker.ids[2])
    broker.confirm(2, multiple=True)
    assert (first.result, second.result) == (CONFIRMED, RETURNED)
    broker.publish(message(message_id="same"))
    assert broker.ids[3] == "same", "it is free again"


async def test_what_comes_back_with_properties_that_can_not_be_read_belongs_to_no_message() -> None:
    broker, mine = CountingBroker(), message()
    broker.publish(mine)
    broker.channel.take_back(Returned(1, 312, None))
    broker.confirm(1)
    assert mine.result == CONFIRMED


async def test_a_confirm_of_what_was_never_published_hides_no_later_one() -> None:
    broker, batch = CountingBroker(), [message(), message()]
    broker.confirm(9, multiple=True)
    broker.publish(*batch)
    broker.confirm(2, multiple=True)
    assert await results(*batch) == [CONFIRMED, CONFIRMED]


@pytest.mark.parametrize(
    ("closing", "status", "is_poison"),
    [
        (FAULT, PublishStatus.BLAMED, True),
        (CHANNEL_FAULT, PublishStatus.BLAMED, False),
        (SHUTDOWN, PublishStatus.LOST, False),
    ],
    ids=lambda value: value.why if isinstance(value, Closing) else "",
)
async def test_what_was_on_its_way_is_blamed_for_a_fault_only_and_what_comes_later_is_not(
    closing: Closing,
    status: PublishStatus,
    is_poison: bool,  # noqa: FBT001 - what is expected
) -> None:
    broker, batch, later = CountingBroker(), [message(), message()], message()
    broker.publish(*batch)
    broker.confirm(1)
    broker.channel.close(closing)
    assert await results(*batch) == [CONFIRMED, PublishResult(status, closing.why, is_poison=is_poison)]
    broker.publish(later)
    assert later.result == PublishResult(PublishStatus.LOST, closing.why)
    assert not broker.channel.is_open
    assert broker.newest == 2
