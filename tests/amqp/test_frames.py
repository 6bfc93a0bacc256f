"""The tests' own instrument is to be trusted."""

from __future__ import annotations

from pamqp.commands import Basic  # noqa: TID251 - it has the frames
from pamqp.frame import marshal  # noqa: TID251 - likewise

from tests.amqp.frames import TagBook


def test_the_book_of_tags_knows_a_stale_one() -> None:
    book = TagBook()
    for tag in (1, 2, 3):
        delivery = Basic.Deliver(consumer_tag="c", delivery_tag=tag, exchange="", routing_key="q")
        book(0, "client", marshal(delivery, 1))
    book(0, "broker", marshal(Basic.Ack(delivery_tag=2, multiple=True), 1))
    assert (book.settled, book.stale) == (2, [])
    book(0, "broker", marshal(Basic.Ack(delivery_tag=2), 1))  # again
    book(0, "broker", marshal(Basic.Reject(delivery_tag=4), 1))  # never delivered
    book(1, "broker", marshal(Basic.Nack(delivery_tag=3), 1))  # of another connection
    assert [each.partition(",")[0] for each in book.stale] == [
        "Basic.Ack of 2",
        "Basic.Reject of 4",
        "Basic.Nack of 3",
    ]
    assert book.settled == 2
