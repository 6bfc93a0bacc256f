"""Whose condition a refusal is: the request's, the worker's or the broker's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcb_trio._transports._amqp._data._closing import Blame, blame, refused_exchange
from rpcb_trio._transports._amqp._session._rights import Rights
from tests.scenarios import steady

NO_WRITE = "ACCESS_REFUSED - access to exchange '{0}' in vhost '/' refused for user 'w'"
NO_WRITE_4 = "ACCESS_REFUSED - write access to exchange '{0}' in vhost '/' refused for user 'w'"
NO_TOPIC = "ACCESS_REFUSED - access to topic 'k' in exchange 'x' in vhost '/' refused for user 'w'"
INTERNAL = "ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'"


@pytest.mark.parametrize(
    ("code", "said", "of_connection", "whose"),
    [
        (403, NO_WRITE.format("amq.default"), False, Blame.WORKER),
        (403, NO_WRITE_4.format("x"), False, Blame.WORKER),
        (403, "ACCESS_REFUSED - the token has expired", False, Blame.WORKER),
        (403, NO_TOPIC, False, Blame.REQUEST),
        (403, INTERNAL, False, Blame.REQUEST),
        (404, "NOT_FOUND - no exchange 'x' in vhost '/'", False, Blame.REQUEST),
        (406, "PRECONDITION_FAILED - message size 9 is larger than max size 8", False, Blame.REQUEST),
        (541, "INTERNAL_ERROR", True, Blame.REQUEST),
        (501, "FRAME_ERROR", True, Blame.REQUEST),
        (320, "CONNECTION_FORCED - Node was put into maintenance mode", True, Blame.BROKER),
        (506, "RESOURCE_ERROR - no more disk", True, Blame.BROKER),
        (506, "RESOURCE_ERROR - no more disk", False, Blame.BROKER),
        (530, "NOT_ALLOWED - vhost '/' is down", True, Blame.BROKER),
        (0, "the broker hung up", True, Blame.BROKER),
        (999, "something new", True, Blame.BROKER),
        (999, "something new", False, Blame.BROKER),
    ],
)
def test_each_refusal_is_somebodys_condition(
    code: int, said: str, *, of_connection: bool, whose: Blame
) -> None:
    assert blame(code, said, is_of_connection=of_connection) is whose


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=40)


@given(names, st.sampled_from([NO_WRITE, NO_WRITE_4]))
@steady
def test_the_exchange_that_is_refused_is_read_whatever_its_name(name: str, text: str) -> None:
    assert refused_exchange(text.format(name)) == ("" if name == "amq.default" else name)


@given(
    st.lists(st.sampled_from("abc")),
    st.sets(st.sampled_from("abc")),
    st.sampled_from(["amq.default", *"abcd"]),
)
@steady
def test_a_worker_lacks_a_right_only_where_its_messages_passed_or_settings_name_the_exchange(
    passed: list[str], claimed: set[str], refused: str
) -> None:
    rights = Rights()
    for exchange in claimed:
        rights.claim(exchange)
    for exchange in passed:
        rights.note_passed(exchange, "key")
    lacking = rights.lacks(NO_WRITE.format(refused))
    if refused in {"amq.default", *passed, *claimed}:
        assert lacking is not None
        assert f"may not publish to exchange '{refused}'; grant write on it" in lacking
    else:
        assert lacking is None
    assert rights.lacks(NO_TOPIC.replace("'x'", "'elsewhere'")) is None
    assert rights.lacks(INTERNAL) is None


def test_a_routing_key_that_passed_before_and_is_refused_now_is_a_right_that_was_taken() -> None:
    rights = Rights()
    rights.note_passed("x", "another")
    assert rights.lacks(NO_TOPIC) is None, "another key says nothing of this one"
    rights.note_passed("x", "k")
    lacking = rights.lacks(NO_TOPIC)
    assert lacking is not None
    assert "may not publish to exchange 'x'" in lacking
