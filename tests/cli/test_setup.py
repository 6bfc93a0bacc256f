"""What the settings set."""

from __future__ import annotations

import pytest

from rpcb_trio import SettingError, Topology
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._url import without_password
from rpcb_trio._commands.serve._setup import as_they_look, make_job, topology
from rpcb_trio._service import bind


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


def test_the_ancestors_topology_is_a_matter_of_settings() -> None:
    settings = Settings(
        queue="asr-en",
        exchange="asrExchange",
        routing_key=("asr-en", "rpc-en"),
        dead_letter_exchange="dead",
        dead_letter_routing_key="asr",
        declare="passive",
        queue_type="quorum",
        exchange_type="direct",
        durable=False,
    )
    assert topology(settings) == Topology(
        queue="asr-en",
        exchange="asrExchange",
        routing_keys=("asr-en", "rpc-en"),
        dead_letter_exchange="dead",
        dead_letter_routing_key="asr",
        declare="passive",
        queue_type="quorum",
        exchange_type="direct",
        durable=False,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x-max-priority=10", 10),
        ("x-expires=-1", -1),
        ("x-single-active-consumer=true", True),
        ("x-single-active-consumer=false", False),
        ("x-overflow=reject-publish", "reject-publish"),
        ("x-dead-letter-strategy=a=b", "a=b"),
    ],
)
def test_a_queue_argument_is_what_it_looks_like(text: str, value: object) -> None:
    found = topology(Settings(queue="q", queue_argument=(text,))).arguments
    assert found == {text.partition("=")[0]: value}
    assert [type(each) for each in found.values()] == [type(value)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:secret@host:5672/v", "amqp://me:***@host:5672/v"),
        ("amqp://me:s@cret@host/", "amqp://me:***@host/"),
        ("amqps://me@host/?name=x", "amqps://me@host/?name=x"),
        ("amqp://host", "amqp://host"),
        ("amqp://me:secret@[::1]:5672/", "amqp://me:***@[::1]:5672/"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_line_of_a_start_tells_what_holds_in_the_end() -> None:
    settings = Settings(
        queue="q",
        url="amqp://me:secret@host/",
        max_batch_size=4,
        batching="fixed",
        max_wait=0.5,
        device=("cpu", "cpu", "cpu"),
    )
    job = make_job("asr", "rpcb_models.asr:service", bind(echo), settings)
    assert job.line == (
        "asr: serving rpcb_models.asr:service from queue q of amqp://me:***@host/: "
        "prefetch 16, max batch 4, fixed batching with a max wait of 0.5 s, 3 replica(s)"
    )


def test_a_prefetch_that_is_too_small_is_refused_before_anything_is_started() -> None:
    with pytest.raises(SettingError, match=r"prefetch is 10, .* at least 64"):
        make_job("asr", "rpcb_models.asr:service", bind(echo), Settings(queue="q", prefetch=10))


def test_events_may_not_go_where_requests_come_from() -> None:
    settings = Settings(queue="q", exchange="x", routing_key=("#",), events="x")
    with pytest.raises(SettingError, match="events is 'x', the exchange that requests come from"):
        make_job("worker", "module:echo", bind(echo), settings)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", 1), ("-7", -7), ("0.5", 0.5), ("1e3", 1000.0), ("true", True), ("false", False)),
        *(
            (text, text)
            for text in ("\uff11", "1_000", " 1", "1 ", "nan", "inf", "infinity", "True", "0x10", "")
        ),
    ],
    ids=ascii,
)
def test_an_option_is_what_it_looks_like_to_anybody(text: str, value: object) -> None:
    found = as_they_look("option", [f"name={text}"])["name"]
    assert (type(found), found) == (type(value), value)
