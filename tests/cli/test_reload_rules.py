"""What a reload makes of the difference between two readings of the settings, without any broker."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from rpcb_trio import AutoPolicy, FixedPolicy, LiveSettings, SettingError
from rpcb_trio._commands._app import parse
from rpcb_trio._commands._settings._control import token_of
from rpcb_trio._commands._settings._parameters import declared
from rpcb_trio._commands._settings._serve import Settings
from rpcb_trio._commands._settings._shared import ControlSettings
from rpcb_trio._commands.serve._reload import Reload
from rpcb_trio._commands.serve._setup import live_arguments
from rpcb_trio.errors import WarmUpFailed

pytestmark = pytest.mark.usefixtures("workplace")

MODELS = """
def echo(bodies):
    return bodies

class Model:
    def __init__(self, size=1):
        self.size = size
    def decode(self, body): return body
    def infer(self, items): return items
    def encode(self, outcome): return b""

class Leaving(Model):
    def __init__(self):
        raise SystemExit("no weights")
"""


class Fake:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.changes: list[Mapping[str, Any]] = []
        self.swaps: list[tuple[str, str | None, int | None]] = []
        self.fails = False

    async def change(self, **settings: Any) -> None:
        self.changes.append(settings)

    async def swap(
        self, service: Any, *, version: str | None, executors: list[Any] | None, unload_first: bool
    ) -> None:
        assert not unload_first
        self.swaps.append((service.name, version, None if executors is None else len(executors)))
        if self.fails:
            raise WarmUpFailed("no weights")


class Process:
    """A process that serves what `rpcb.toml` says, and reloads."""

    def __init__(self, *argv: str) -> None:
        self._file = Path("rpcb.toml")
        _, bound = parse(["serve", *argv])
        self.workers = {name: Fake() for name in ("one", "two", "q")}
        self._reload = Reload(bound, self.workers)  # type: ignore[arg-type] # they do as much as it needs

    async def reload(self, text: str | None = None) -> list[str]:
        """Write the file and have it read; returns the lines of the report."""
        if text is not None:
            self._file.write_text(text)
        return [str(each) for each in (await self._reload()).changes]


@pytest.fixture
def process(workplace: Path) -> Process:
    (workplace / "models.py").write_text(MODELS)
    (workplace / "leaving.py").write_text("raise KeyboardInterrupt")
    (workplace / "rpcb.toml").write_text(written())
    return Process()


def written(one: str = "", two: str = "", top: str = "", target: str = "models:Model") -> str:
    return (
        f"{top}\n[workers.one]\ntarget = '{target}'\nqueue = 'a'\nreplicas = 2\n{one}\n"
        f"[workers.two]\ntarget = 'models:echo'\nqueue = 'b'\n{two}\n"
    )


async def test_what_is_as_it_was_changes_nothing(process: Process) -> None:
    assert await process.reload("# as before\n" + written()) == []
    assert all(not each.changes and not each.swaps for each in process.workers.values())


async def test_the_policy_is_made_anew_only_where_one_of_its_settings_has_changed(process: Process) -> None:
    lines = await process.reload(written(one="max_pending = 50", two="batching = 'fixed'\nmax_wait = '20ms'"))
    assert lines == [
        "one: max_pending: changed live, not set -> 50",
        "two: batching: changed live, auto -> fixed",
        "two: max_wait: changed live, not set -> 20ms",
    ]
    assert process.workers["one"].changes == [{"max_pending": 50}]
    [change] = process.workers["two"].changes
    assert change.keys() == {"batching"}
    assert isinstance(change["batching"], FixedPolicy)
    assert change["batching"].max_wait == 0.02
    await process.reload(written())
    assert isinstance(process.workers["two"].changes[-1]["batching"], AutoPolicy)
    assert process.workers["one"].changes[-1] == {"max_pending": None}


async def test_a_default_of_all_workers_reaches_each_that_has_none_of_its_own(process: Process) -> None:
    lines = await process.reload(
        written(two="drain_timeout = 5", top="drain_timeout = 7\nlog_level = 'debug'")
    )
    assert sorted(lines) == [
        "log_level: changed live, info -> debug",
        "one: drain_timeout: changed live, 30s -> 7s",
        "two: drain_timeout: changed live, 30s -> 5s",
    ]


async def test_what_only_goes_with_a_restart_waits_for_it_and_others_do_not(process: Process) -> None:
    smaller = written(one="prefetch = 64").replace("replicas = 2", "replicas = 1")
    assert await process.reload(smaller + "max_body_size = '1KiB'\n") == [
        "one: prefetch: needs a restart, not set -> 64",
        "one: replicas: needs a restart, 2 -> 1",
        "two: max_body_size: changed live, 96MiB -> 1KiB",
    ]
    assert process.workers["one"].changes == []
    assert len(await process.reload(smaller)) == 3, "it is told again, and two has its default again"


async def test_workers_that_are_new_or_gone_need_a_restart(process: Process) -> None:
    text = written().replace("workers.two", "workers.three")
    assert await process.reload(text) == [
        "two: target: needs a restart, models:echo -> not set",
        "three: target: needs a restart, not set -> models:echo",
    ]


async def test_another_model_is_swapped_in_after_the_limits_have_changed(process: Process) -> None:
    one = process.workers["one"]
    lines = await process.reload(
        written(one="option = ['size=2']\nmodel_version = '2'\nmax_body_size = 1000", target="models:Model")
    )
    assert sorted(lines) == [
        "one: max_body_size: changed live, 96MiB -> 1000B",
        "one: model_version: changed live, not set -> 2",
        "one: option: changed live, not set -> size=2",
    ]
    assert (one.changes, one.swaps) == ([{"max_body_size": 1000}], [("Model", "2", None)])
    one.fails = True
    for _ in range(2):  # it is tried again
        lines = await process.reload(written(target="models:echo", one="max_body_size = 2000"))
        assert "one: target: could not be changed, models:Model -> models:echo (no weights)" in lines
    assert one.changes[1:] == [{"max_body_size": 2000}]
    one.fails = False
    lines = await process.reload(written(target="models:echo", one="max_body_size = 2000"))
    assert "one: target: changed live, models:Model -> models:echo" in lines
    assert one.swaps[-1] == ("echo", None, None)
    assert await process.reload(written(target="models:echo", one="max_body_size = 2000")) == []


async def test_a_model_in_processes_gets_as_many_new_ones(workplace: Path) -> None:
    (workplace / "models.py").write_text(MODELS)
    (workplace / "rpcb.toml").write_text(written(one="executor = 'process'"))
    process = Process()
    await process.reload(written(one="executor = 'process'\noption = ['size=3']"))
    assert process.workers["one"].swaps == [("Model", None, 2)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size = 0\n" + written(), "rpcb.toml: max_batch_size = 0: it must be at least 1"),
        (written(one="max_wait = 1"), "one: max_wait is for batching = fixed"),
        (written(two="max_pending = 3"), "two: max_pending is 3, but max_batch_size is 32"),
        (written(one="option = ['length=3']"), "one: models:Model: there is no option length"),
        (written(target="models:none"), "one: models:none: models has no attribute none"),
        (written(two="url = 'amqp://x'\nurl_file = 'y'"), "two: url and url_file are both set"),
        (written().replace("'b'", "'a'"), "one and two serve different targets from one queue, a"),
        (written(one="model_version = 'é'"), "one: model_version is 'é'; use printable ASCII"),
        (written(target="models:Leaving"), "one: models:Leaving: creating it fails: SystemExit: no weights"),
        (written(target="leaving:Model"), "one: leaving:Model: importing leaving fails: KeyboardInterrupt ("),
        ("[workers", "rpcb.toml: it can't be read"),
        ("", "TARGET is missing"),
    ],
    ids=[
        "a key",
        "batching",
        "together",
        "an option",
        "a target",
        "a url",
        "a queue",
        "a version",
        "an exit",
        "an interrupt",
        "TOML",
        "nothing",
    ],
)
async def test_what_a_start_would_refuse_is_refused_and_nothing_is_changed(
    text: str, error: str, process: Process
) -> None:
    with pytest.raises(SettingError) as refused:
        await process.reload(text.replace("queue = 'a'", "queue = 'a'\ndrain_timeout = 1"))
    assert str(refused.value).startswith(error)
    assert all(not each.changes and not each.swaps for each in process.workers.values())
    assert await process.reload(written()) == []


async def test_a_file_that_is_gone_is_no_wish_to_have_the_defaults(workplace: Path) -> None:
    (workplace / "models.py").write_text(MODELS)
    file = workplace / "rpcb.toml"
    file.write_text("max_pending = 60")
    process = Process("models:echo", "--queue=q")
    file.unlink()
    with pytest.raises(SettingError, match=r"^rpcb.toml: it is gone; put it back"):
        await process.reload()
    assert await process.reload("") == ["q: max_pending: changed live, 60 -> not set"]


OF_MODEL = {"option", "model_version", "unload_first"}


def test_every_setting_that_is_declared_live_is_given_to_the_worker() -> None:
    live = {name for name, (_, _, reader) in declared(Settings).items() if reader.is_live}
    told = {name for name in live if live_arguments(Settings(queue="q", tenant="x"), [name])}
    assert live - told == OF_MODEL | {"consumer_timeout"}, "these are for a swap, and for a warning"
    assert {name for name in LiveSettings.__annotations__ if hasattr(Settings, name)} <= live


async def test_flags_and_variables_of_the_start_come_before_the_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "models.py").write_text(MODELS)
    monkeypatch.setenv("RPCB_MAX_PENDING", "40")
    process = Process("models:echo", "--queue=q", "--drain-timeout=3")
    monkeypatch.setenv("RPCB_MAX_PENDING", "50")
    monkeypatch.setenv("RPCB_REPLICAS", "4")
    lines = await process.reload("drain_timeout = 9\nmax_pending = 60\nqueue = 'other'\nbatch_headers = true")
    assert lines == ["q: batch_headers: changed live, false -> true"]


async def test_the_queue_that_gave_the_only_worker_its_name_may_change_in_the_file(workplace: Path) -> None:
    (workplace / "models.py").write_text(MODELS)
    (workplace / "rpcb.toml").write_text("queue = 'q'")
    process = Process("models:echo")
    assert await process.reload("queue = 'other'\nmax_pending = 60") == [
        "q: queue: needs a restart, q -> other",
        "q: max_pending: changed live, not set -> 60",
    ]


async def test_no_password_is_shown(workplace: Path) -> None:
    (workplace / "models.py").write_text(MODELS)
    process = Process("models:echo", "--queue=q", "--health-port=1", "--control-token-file=token")
    lines = await process.reload("password = 'sesame'\ncontrol_token = 'sesame'")
    assert "q: password: needs a restart, not set -> ***" in lines
    lines += await process.reload("url = 'amqp://me:sesame@host'")
    assert "q: url: needs a restart, amqp://guest:***@localhost:5672/ -> amqp://me:***@host" in lines
    assert not [line for line in lines if "sesame" in line]


def test_a_token_of_nothing_but_spaces_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" sesame \n")
    assert token_of(ControlSettings(control_token_file=str(file))) == "sesame"
    file.write_text("  \n")
    with pytest.raises(SettingError, match=r"^control_token_file is empty, so anybody could reload; set a"):
        token_of(ControlSettings(control_token_file=str(file)))
    for blank in ("", "  "):
        with pytest.raises(SettingError, match=r"^control_token is empty, so anybody could reload; set a"):
            token_of(ControlSettings(control_token=blank))
    with pytest.raises(SettingError, match=r"^control_token has characters that HTTP does not carry; use"):
        token_of(ControlSettings(control_token="s\N{LATIN SMALL LETTER E WITH ACUTE}same"))  # noqa: S106 - of the test


async def test_a_service_that_is_still_made_does_not_keep_a_process_that_ends(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, begun = threading.Event(), trio.Event()

    def load(*_: object, **__: object) -> None:
        trio.from_thread.run_sync(begun.set)
        assert made.wait(60)

    monkeypatch.setattr("rpcb_trio._commands.serve._reload.load_service", load)
    try:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.reload, written(one="model_version = '2'"))
                await begun.wait()
                nursery.cancel_scope.cancel()
    finally:
        made.set()
    assert not process.workers["one"].swaps
