"""`doctor` on set-ups that are good and on those that are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from yarl import URL

from rpcb_trio import MemoryBroker, Topology, open_worker, serve
from rpcb_trio._commands._app import parse
from rpcb_trio._commands._bodies import Body, RequestFlags
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands.doctor._checkup import send_through
from rpcb_trio._commands.doctor._findings import Level
from rpcb_trio.amqp import AmqpTransport
from tests.amqp.users import add_user, await_no_connection_of, set_limits, tell, url_of
from tests.amqp.users import permit as permissions
from tests.cli.conftest import Ended
from tests.rabbitmq import Broker
from tests.scenarios import Shouting

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def rows(ended: Ended) -> dict[str, tuple[str, str]]:
    """Each row of the table, by what it is about: its level, and the rest."""
    found = {}
    for line in ended.out.splitlines():
        level, _, rest = line.strip().partition("  ")
        if level in set(Level):
            what, _, told = rest.strip().partition("  ")
            found[what] = (level, " ".join(told.split()))
    return found


def declare(broker: Broker, queue: str, **more: Any) -> None:
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, **more)


def test_a_good_set_up_has_no_problem_and_what_the_version_means_is_told(
    broker: Broker, queue: str, run_command: Run
) -> None:
    declare(broker, queue)
    ended = run_command("doctor", "--queue", queue, "--url", broker.url)
    found = rows(ended)
    assert ended.code == 0
    assert "problem" not in {level for level, _ in found.values()}
    assert found["broker"][1].startswith("RabbitMQ ")
    assert "MiB" in found["largest message"][1]
    assert found[f"queue {queue}"] == ("ok", "there, as the settings say")
    assert found["traffic"][0] == "warning"
    assert found["dead letters"][0] == "warning"
    assert ended.out.rstrip().endswith("0 problems")
    assert {found[each][1] for each in ("may declare", "may consume", "may reply")} == {"yes"}


def test_what_is_not_there_is_told_with_what_to_mend(broker: Broker, queue: str, run_command: Run) -> None:
    argv = ("--queue", queue, "--url", broker.url, "--exchange", queue, "--routing-key=rpc")
    ended = run_command("doctor", *argv, "--dead-letter-exchange", queue, "--declare=passive")
    found = rows(ended)
    assert ended.code == 13
    for what in (f"queue {queue}", f"exchange {queue}", "dead letters"):
        level, told = found[what]
        assert level == "problem"
        assert "NOT_FOUND" in told
        assert "create " in told
    active = run_command("doctor", *argv)
    assert active.code == 0
    assert rows(active)[f"queue {queue}"] == ("ok", "not there yet; serve declares it")


def test_an_argument_that_differs_is_named(broker: Broker, queue: str, run_command: Run) -> None:
    declare(broker, queue, arguments={"x-max-priority": 5})
    ended = run_command("doctor", "--queue", queue, "--url", broker.url)
    level, told = rows(ended)[f"queue {queue}"]
    assert (ended.code, level) == (13, "problem")
    assert "inequivalent arg 'x-max-priority'" in told
    same = ("--queue-argument", "x-max-priority=5")
    assert run_command("doctor", "--queue", queue, "--url", broker.url, *same).code == 0


@pytest.fixture
def limited(broker: Broker) -> Callable[[str, str, str], str]:
    """Makes a user who may configure, write and read what these match, and returns its URL."""
    name = broker.fresh_name("user")

    def permit(*rights: str) -> str:
        trio.run(tell, broker, add_user(name, "hunter2"), permissions(name, *rights))
        return url_of(broker, name, "hunter2")

    return permit


def test_rights_are_told_one_by_one_and_the_least_that_work_are_enough(
    broker: Broker, queue: str, run_command: Run, limited: Callable[[str, str, str], str]
) -> None:
    declare(broker, queue)
    url = limited("^$", r"^amq\.default$", f"^{queue}$")
    least = run_command("doctor", "--queue", queue, "--url", url, "--declare=passive")
    assert least.code == 0
    assert rows(least)["may declare"] == ("ok", "no, and declare=passive needs none")
    other = broker.fresh_name()
    declare(broker, other)
    with broker.channel() as channel:
        channel.exchange_declare("rpcb.cancel", "direct", durable=True)
    asked = ["--queue", other, "--url", url, "--dead-letter-exchange=amq.topic", "--cancel"]
    found = rows(run_command("doctor", *asked))
    assert {what for what, (level, _) in found.items() if level == "problem"} == {
        f"queue {other}",
        "cancels",
        "dead letters",
        "may declare",
        "may consume",
    }
    assert "grant read on" in found["may consume"][1]
    if broker.version >= (4, 3):  # without any right to a queue one may not look whether it is there
        assert "grant the user what it needs there" in found[f"queue {other}"][1]
    assert "hunter2" not in least.out + least.err


def test_as_many_connections_as_serve_needs_are_opened_at_once(
    broker: Broker, queue: str, run_command: Run, limited: Callable[[str, str, str], str]
) -> None:
    url = limited(".*", ".*", ".*")
    user = str(URL(url).user)
    found = []
    for most in (1, 3, 4):
        limit = set_limits(user, f'{{"max-connections": {most}}}')
        trio.run(tell, broker, limit, await_no_connection_of(user))
        argv = ("doctor", "--queue", queue, "--url", url, "--check-caller", "--events=told")
        found.append(rows(run_command(*argv))["connections"])
    roles = "in, out, check, events"
    for most, (level, told) in zip((1, 3), found[:2], strict=True):
        assert level == "problem"
        assert told.startswith(f"{most} of the 4 that serve needs ({roles}): ")
        assert "limit" in told
    assert found[2] == ("ok", f"4, as serve needs them ({roles})")


def test_the_connections_of_all_workers_of_a_process_are_counted(
    broker: Broker, run_command: Run, workplace: Path
) -> None:
    first, second = broker.fresh_name(), broker.fresh_name()
    (workplace / "rpcb.toml").write_text(
        f"url = '{broker.url}'\n[workers.first]\nqueue = '{first}'\n"
        f"[workers.second]\nqueue = '{second}'\ncheck_caller = true\n"
    )
    ended = run_command("doctor")
    roles = f"in of {first}, out of {first}, in of {second}, out of {second}, check of {second}"
    assert rows(ended)["connections"] == ("ok", f"5, as serve needs them ({roles})")


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"auto_delete": True}, "it is auto-delete: when its last consumer leaves"),
        ({"arguments": {"x-expires": 60_000}}, "it has x-expires: when nobody has consumed it for 60000 ms"),
    ],
    ids=["auto-delete", "x-expires"],
)
def test_a_queue_that_goes_with_all_that_waits_in_it_is_a_warning(
    broker: Broker, queue: str, run_command: Run, declared: dict[str, Any], told: str
) -> None:
    declare(broker, queue, **declared)
    found = rows(run_command("doctor", "--queue", queue, "--url", broker.url, "--declare=passive"))
    assert found["what waits"][0] == "warning"
    assert told in found["what waits"][1]


def test_a_broker_that_will_not_have_us_is_a_problem_without_the_password(
    broker: Broker, queue: str, run_command: Run
) -> None:
    url = str(URL(broker.url).with_password("hunter2"))
    ended = run_command("doctor", "--queue", queue, "--url", url)
    level, told = rows(ended)["connection"]
    assert (ended.code, level) == (13, "problem")
    assert "refused the user 'guest'" in told
    assert "hunter2" not in ended.out + ended.err


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_looking_around_leaves_everything_as_it_was(kind: str, broker: Broker, queue: str) -> None:
    arguments = {"x-queue-type": kind}
    await trio.to_thread.run_sync(partial(declare, broker, queue, arguments=arguments))
    with broker.channel() as channel:
        channel.confirm_delivery()
        channel.queue_bind(queue, "amq.topic", "rpc")
        channel.basic_publish("", queue, b"waits")
        other = broker.fresh_name()
        async with AmqpTransport(broker.url).open_examination() as asked:
            assert await asked.refusal_to_declare(other) is None
            assert await asked.refusal_to_declare(queue) is None
            assert await asked.refusal_to_read(queue) is None
            assert await asked.refusal_to_write("amq.topic", "rpc") is None
            assert await asked.refusal_to_write("", queue) is None
            assert str(await asked.queue(other)).startswith("NOT_FOUND")
        method, _, body = channel.basic_get(queue)
        assert (body, method.redelivered, method.message_count) == (b"waits", False, 0)


def test_a_service_that_can_not_be_loaded_is_a_problem(
    broker: Broker, queue: str, run_command: Run, workplace: Path
) -> None:
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    argv = ("--queue", queue, "--url", broker.url)
    assert rows(run_command("doctor", "service:echo", *argv))["service"] == (
        "ok",
        "service:echo can be loaded",
    )
    ended = run_command("doctor", "service:ecko", *argv)
    assert ended.code == 13
    assert "did you mean echo?" in rows(ended)["service"][1]


def test_each_worker_of_the_file_has_a_table(broker: Broker, run_command: Run, workplace: Path) -> None:
    first, second = broker.fresh_name(), broker.fresh_name()
    (workplace / "service.py").write_text("def echo(bodies): return bodies\n")
    (workplace / "rpcb.toml").write_text(
        f"url = '{broker.url}'\ntarget = 'service:echo'\n"
        f"[workers.first]\nqueue = '{first}'\n[workers.second]\nqueue = '{second}'\n"
    )
    ended = run_command("doctor")
    assert ended.code == 0
    assert f"first: queue {first}" in ended.out
    assert f"second: queue {second}" in ended.out
    assert "first: queue" not in run_command("doctor", "--worker=second").out


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "queue is missing"),
        (["--queue=q", "--send=a", "--field=a=b"], "--send, --body, --json and --field"),
        (["--queue=q", "--body=nowhere"], "--body: nowhere can't be read"),
        (["--queue=q", "--prefetch=3", "--url=amqp://127.0.0.1:1/"], "prefetch is 3"),
        (["--queue=q", "--exchange=x", "--url=amqp://127.0.0.1:1/"], "give a routing_key"),
    ],
)
def test_wrong_settings_are_one_line(argv: list[str], part: str, run_command: Run) -> None:
    ended = run_command("doctor", *argv)
    assert ended.code == 2
    assert part in ended.line


async def test_a_request_goes_all_the_way_by_the_exchange_as_a_producers_would() -> None:
    broker, settings = MemoryBroker(), Settings(queue="q", exchange="x", routing_key=("rpc",))
    unbound = await send_through(broker, settings, Body(b"good"), 1.0)
    async with trio.open_nursery() as nursery:
        bound = Topology(queue="q", exchange="x", routing_keys=("rpc",))
        worker = await nursery.start(partial(serve, Shouting(), broker, bound, instruments=[]))
        answered = await send_through(broker, settings, Body(b"good"), 20.0)
        refused = await send_through(broker, Settings(queue="q"), Body(b"sick"), 20.0)
        worker.drain()
    assert (unbound.level, answered.level, refused.level) == (Level.PROBLEM, Level.OK, Level.WARNING)
    assert "7 byte(s) in" in answered.found
    assert "an error reply (infer)" in refused.found


class Text(msgspec.Struct):
    text: str


def shout(texts: list[Text]) -> list[Text]:
    return [Text(each.text.upper()) for each in texts]


@pytest.mark.parametrize(
    "given", [RequestFlags(json='{"text": "hi"}'), RequestFlags(field=("text=hi",))], ids=["json", "fields"]
)
async def test_a_typed_service_reads_a_request_by_the_content_type_that_is_sent_with_it(
    given: RequestFlags,
) -> None:
    broker, body = MemoryBroker(), given.read(None, "--send")
    assert body is not None
    async with open_worker(shout, broker, "q"):
        found = await send_through(broker, Settings(queue="q"), body, 5.0)
    assert found.level is Level.OK, found.found


@pytest.mark.parametrize(
    "name", ["Requests`1[[System.String]]", "[/red]", "имя", "\x1b[31mred\x07", "a b?c&d=e"]
)
def test_a_queue_of_any_name_is_examined_and_shown_as_it_is_but_for_commands_to_a_terminal(
    broker: Broker, queue: str, run_command: Run, name: str
) -> None:
    name += queue
    broker._names.append(name)
    declare(broker, name)
    ended = run_command("doctor", "--queue", name, "--url", broker.url)
    assert ended.code == 0
    assert "\x1b[31mred" not in ended.out
    shown = name.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert rows(ended)[f"queue {shown}"] == ("ok", "there, as the settings say")


def test_a_variable_that_is_no_setting_is_a_warning(
    broker: Broker, queue: str, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPCB_MAX_BATCHSIZE", "8")
    declare(broker, queue)
    ended = run_command("doctor", "--queue", queue, "--url", broker.url)
    level, told = rows(ended)["variable"]
    assert (ended.code, level) == (0, "warning")
    assert "did you mean RPCB_MAX_BATCH_SIZE?" in told


def test_a_device_that_is_not_there_is_a_problem_as_serve_would_have_it(
    broker: Broker, queue: str, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    declare(broker, queue)
    argv = ("--queue", queue, "--url", broker.url, "--device", "cuda:0", "--device", "cpu")
    ended = run_command("doctor", *argv)
    assert ended.code == 13
    assert "device is cuda:0" in ended.out
    assert rows(ended)["device"] == ("ok", "cpu")


@pytest.mark.usefixtures("workplace")
def test_it_takes_each_flag_of_serve() -> None:
    of_process = ("--health-port=8080", "--log-level=debug", "--metrics", "--control-token-file=token")
    command, _ = parse(["doctor", "shout:shout", "--queue=q", "--tenant=x", *of_process])
    assert command.__name__ == "doctor"
