"""What the settings set."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import pytest

from rpcb_trio import Cache, SettingError, Topology, serve
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._values import as_they_look
from rpcb_trio._commands.serve import _setup
from rpcb_trio._commands.serve._setup import held, make_job, topology
from rpcb_trio._service import bind
from rpcb_trio.batching import Shares
from tests.cli.test_settings import EVERY_SETTING, expected


def echo(bodies: list[bytes]) -> list[bytes]:
    return bodies


TAKEN = inspect.signature(serve).parameters.keys() - {"queue", "batching", "journal", "cache"}


@pytest.mark.parametrize("name", sorted(TAKEN & EVERY_SETTING.keys()))
def test_a_setting_of_the_name_of_an_argument_of_serve_is_given_to_it(name: str) -> None:
    partners = {"claims": EVERY_SETTING["claims"]} if name == "claims_kept" else {}
    settings = expected({"queue": "q", name: EVERY_SETTING[name], **partners})
    job = make_job("worker", "module:echo", bind(echo), settings)
    assert job.start.keywords[name] == getattr(settings, name)  # type: ignore[attr-defined] # it is a partial


def test_the_settings_of_the_cache_make_one() -> None:
    settings = expected({"queue": "q", "cache": 90.5, "cache_max_bytes": 3000, "cache_header": ["x-tenant"]})
    job = make_job("worker", "module:echo", bind(echo), settings)
    cache = Cache(ttl=90.5, max_bytes=3000, headers=("x-tenant",))
    assert job.start.keywords["cache"] == cache  # type: ignore[attr-defined] # it is a partial


def test_a_setting_has_the_default_of_the_argument_of_its_name() -> None:
    settings = Settings()
    for called in (serve, Topology):
        for name, argument in inspect.signature(called).parameters.items():
            if name not in {"queue", "batching"} and hasattr(settings, name):
                assert (name, getattr(settings, name)) == (name, argument.default)


def test_the_ancestors_topology_is_a_matter_of_settings() -> None:
    names = ("queue", "exchange", "declare", "queue_type", "exchange_type", "durable", "on_refused_reply")
    same: dict[str, Any] = {
        name: EVERY_SETTING[name] for name in (*names, "dead_letter_exchange", "dead_letter_routing_key")
    }
    settings = expected(
        {**same, "routing_key": ["asr-en", "rpc-en"], "queue_argument": ["x-max-priority=10"]}
    )
    assert topology(settings) == Topology(
        **same, routing_keys=("asr-en", "rpc-en"), arguments={"x-max-priority": 10}
    )


def test_the_line_of_a_start_says_what_holds_in_the_end() -> None:
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
        "prefetch 16, max batch 4, fixed batching with a max wait of 500ms, 3 replica(s)"
    )


def test_a_prefetch_that_is_too_small_is_refused_before_anything_is_started() -> None:
    with pytest.raises(SettingError, match=r"prefetch is 10, .* at least 64"):
        make_job("asr", "rpcb_models.asr:service", bind(echo), Settings(queue="q", prefetch=10))


def test_tenant_and_weight_become_shares_and_let_the_worker_take_more_in() -> None:
    settings = Settings(queue="q", tenant="x-tenant", weight=("gold=3", "a=b=0.5", "*=1"))
    job = make_job("asr", "rpcb_models.asr:service", bind(echo), settings)
    given = job.start.keywords  # type: ignore[attr-defined] # it is a partial
    assert given["shares"] == Shares("x-tenant", {"gold": 3, "a=b": 0.5, "*": 1})
    assert held(settings)[-1] == 416


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tenant": "x", "weight": ("gold",)}, r"^weight is gold; write it as TENANT=N, as in gold=3$"),
        ({"tenant": "x", "weight": ("=3",)}, r"^weight is =3; write it as TENANT=N"),
        ({"tenant": "x", "weight": ("gold=much",)}, r"^weight is gold=much; write it as TENANT=N"),
        ({"tenant": "x", "weight": ("a=1", "a=2")}, r"^weight of 'a' is set twice; leave one out$"),
        ({"tenant": "x", "weight": ("gold=nan",)}, r"^weight is gold=nan; write it as TENANT=N"),
        ({"tenant": "x", "weight": ("gold=0",)}, r"^weight of 'gold' is 0.0; it must be at least 0.001$"),
        ({"tenant": "x", "prefetch": 64}, r"^prefetch is 64, .* at least 192 "),
    ],
    ids=str,
)
def test_shares_that_can_not_be_are_refused_with_the_remedy(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        make_job("asr", "rpcb_models.asr:service", bind(echo), Settings(queue="q", **settings))


def test_each_process_has_the_limits_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(_setup, "ProcessExecutor", lambda *_, **arguments: given.append(arguments))
    _setup.processes_of(
        "asr",
        "rpcb_models.simple:echo",
        Settings(queue="q", executor="process", replicas=2, max_batches=7, max_memory=2**30),
    )
    assert [(each["max_batches"], each["max_memory"]) for each in given] == [(7, 2**30)] * 2


def test_a_job_that_was_started_keeps_no_model() -> None:
    service = bind(echo)
    job = make_job("asr", "rpcb_models.asr:service", service, Settings(queue="q"))
    model = weakref.ref(service)
    del service
    assert model() is not None
    job.taken()
    gc.collect()
    assert model() is None
    with pytest.raises(AssertionError, match="started once"):
        job.start()


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
            for text in ("\uff11", "1_000", " 1", "1 ", "nan", "inf", "infinity", "True", "0x10", "", "a=b")
        ),
    ],
    ids=ascii,
)
def test_an_option_or_a_queue_argument_is_what_it_looks_like_to_anybody(text: str, value: object) -> None:
    found = as_they_look("option", [f"name={text}"])["name"]
    assert (type(found), found) == (type(value), value)
