"""`tune` measures a service and recommends settings; what it measures is real, so no figure is asserted."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from rpcb_trio._commands._bodies import Body, RequestFlags, read_bodies
from rpcb_trio._commands._outputs import rate
from rpcb_trio._commands._settings._file import read_file
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Tune = Callable[..., Ended]
ROOT = Path(__file__).parent.parent.parent

SERVICES = """
import time
from pathlib import Path
from rpcb_trio.errors import OutOfMemory

class Model:
    def __init__(self, name="none"):
        self.name = name
    def warm_up(self):
        Path("warmed").write_text(self.name)
    def decode(self, body):
        return body.decode()
    def cost(self, item):
        return float(len(item))
    def infer(self, items):
        time.sleep(0.0005 + 0.0001 * len(items))
        return [self.one(item) for item in items]
    def one(self, item):
        return ValueError("no good") if item == "sick" else item
    def encode(self, outcome):
        return b""

class Small(Model):
    def infer(self, items):
        if len(items) > 2:
            raise OutOfMemory("two will do")
        return super().infer(items)

class Brittle(Model):
    def infer(self, items):
        if len(items) > 1:
            raise RuntimeError("one by one")
        return super().infer(items)

class Poisoned(Model):
    def infer(self, items):
        if "poison" in items:
            raise RuntimeError("poisoned")
        return super().infer(items)

class Slow(Model):
    def infer(self, items):
        time.sleep(0.01 * len(items))
        return super().infer(items)
"""


@pytest.fixture
def tune(workplace: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch) -> Tune:
    """Tune a service of `SERVICES`: few rounds, and time enough for them on any machine."""
    monkeypatch.setattr("rpcb_trio._measure._measurement.MOST_ROUNDS", 5)
    (workplace / "services.py").write_text(SERVICES)
    for name, text in {"short": "a", "long": "a" * 8, "sick": "sick", "poison": "poison"}.items():
        (workplace / name).write_text(text)
    (workplace / "binary").write_bytes(b"\xff")

    def run(target: str, *argv: str, bodies: tuple[str, ...] = ("short", "long")) -> Ended:
        given = ("--body", *bodies) if bodies else ()
        quick = ("--max-batch-size=4", "--seconds=20", "--requests=100", "--figures=found.json")
        flags = {each.partition("=")[0]: each for each in (*quick, *argv)}
        return run_command("tune", *([f"services:{target}"] if target else []), *given, *flags.values())

    return run


def found(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    read: dict[str, Any] = json.loads(Path("found.json").read_text())
    return read


def refused(ended: Ended, *parts: str) -> None:
    assert ended.code == 2
    for part in parts:
        assert part in ended.line


@pytest.mark.parametrize(("per_second", "shown"), [(0.5, "0.5"), (36.87, "36.87"), (94931.0, "94930")])
def test_a_rate_is_shown_without_an_exponent(per_second: float, shown: str) -> None:
    assert rate(per_second) == shown


def test_without_a_load_it_shows_what_batches_take(tune: Tune) -> None:
    ended = tune("Model")
    assert "What a batch of services:Model takes" in ended.out
    assert "Give --rate or --callers for a recommendation." in ended.out
    [measured] = found(ended)["measured"]
    assert [each["size"] for each in measured["sizes"]] == [1, 2, 4]
    for each in measured["sizes"]:
        assert each["runs"] > 0
        assert 0 < each["low"] <= each["median"] <= each["high"]
    assert measured["law"]["fixed"] >= 0
    assert found(ended)["recommended"] is None


def test_the_largest_size_is_measured_whatever_it_is(tune: Tune) -> None:
    [measured] = found(tune("Model", "--max-batch-size=6"))["measured"]
    assert [each["size"] for each in measured["sizes"]] == [1, 2, 4, 6]


@pytest.mark.parametrize(
    "load", [["--rate=20"], ["--callers=3"], ["--rate=20", "--callers=2"]], ids=["rate", "callers", "both"]
)
@pytest.mark.parametrize("objective", [[], ["--p99=5"], ["--mean=5"]], ids=["none", "p99", "mean"])
def test_what_it_recommends_is_one_of_the_settings_it_simulated_and_meets_the_objective(
    load: list[str], objective: list[str], tune: Tune
) -> None:
    ended = tune("Model", *load, *objective)
    figures = found(ended)
    assert [each["max_batch_size"] for each in figures["settings"]] == [1, 2, 4]
    best = figures["recommended"]
    assert best in figures["settings"]
    assert best["meets"]
    assert f"Recommended: max_batch_size {best['max_batch_size']} with 1 replica(s)" in ended.out
    if objective:
        assert (
            0
            < best["highest"]
            == pytest.approx(max(each["highest"] for each in figures["settings"]), rel=0.06)
        )


def test_the_lines_for_the_file_are_settings_that_serve_accepts(tune: Tune, workplace: Path) -> None:
    ended = tune("Model", "--rate=20")
    best = found(ended)["recommended"]
    (workplace / "rpcb.toml").write_text(ended.out[ended.out.index("# rpcb.toml") :])
    assert read_file(None).top == {
        "batching": "auto",
        **{name: best[name] for name in ("max_batch_size", "prefetch", "replicas")},
    }
    assert best["prefetch"] == 2 * best["max_batch_size"]


def test_it_says_plainly_when_no_setting_meets_the_objective(tune: Tune) -> None:
    ended = tune("Model", "--rate=20", "--p99=0.000001")
    assert "No setting meets a p99 latency of at most 0.001 ms at 20 requests/s" in ended.out
    figures = found(ended)
    assert figures["recommended"]["p99"] == min(each["p99"] for each in figures["settings"])
    assert [each["highest"] for each in figures["settings"]] == [0, 0, 0]


def test_it_says_plainly_when_no_setting_keeps_up(tune: Tune) -> None:
    ended = tune("Model", "--rate=1000000")
    assert "No setting keeps up with 1e+06 requests/s" in ended.out
    best = found(ended)["recommended"]
    assert best["mean"] is best["p99"] is None
    assert best["capacity"] < 1000000


def test_replicas_are_tried_only_if_asked_and_measured_at_work_together(tune: Tune) -> None:
    figures = found(tune("Model", "--rate=20", "--replicas=2"))
    assert [each["replicas"] for each in figures["measured"]] == [1, 2]
    assert [(each["replicas"], each["max_batch_size"]) for each in figures["settings"]] == [
        (replicas, size) for replicas in (1, 2) for size in (1, 2, 4)
    ]


def test_on_a_terminal_it_asks_for_what_was_not_given(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("many\n50\n\n-1\n2.5\n"))
    figures = found(tune("Model"))
    assert figures["load"] == {"rate": 50.0, "callers": None}
    assert figures["objective"] == {"p99": 2.5, "mean": None}
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert found(tune("Model"))["recommended"] is None
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert found(tune("Model", "--callers=2"))["objective"] == {"p99": None, "mean": None}


@pytest.mark.parametrize("load", [[], ["--rate=20", "--p99=1"], ["--callers=2"]])
def test_a_chart_is_drawn(load: list[str], tune: Tune, workplace: Path) -> None:
    assert tune("Model", *load, "--plot=chart.png").code == 0
    assert (workplace / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_file_and_the_variables_set_what_they_set_for_serve(
    tune: Tune, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "rpcb.toml").write_text(
        "target = 'services:Model'\noption = ['name=seen']\nmax_batch_size = 1\n"
    )
    [measured] = found(tune(""))["measured"]
    assert (workplace / "warmed").read_text() == "seen"
    assert [each["size"] for each in measured["sizes"]] == [1, 2, 4]
    monkeypatch.setenv("RPCB_OPTION", "name=variable")
    assert tune("").code == 0
    assert (workplace / "warmed").read_text() == "variable"


def test_sizes_that_the_memory_does_not_hold_are_left_out(tune: Tune) -> None:
    ended = tune("Small", "--rate=10")
    assert "the device's memory does not hold 4 at once" in ended.out
    assert [each["max_batch_size"] for each in found(ended)["settings"]] == [1, 2]


def test_sizes_there_is_no_time_for_are_left_out(tune: Tune) -> None:
    ended = tune("Slow", "--seconds=0.01")
    assert "batches of 2 take too long to be measured; raise --seconds" in ended.out
    [measured] = found(ended)["measured"]
    assert [each["size"] for each in measured["sizes"]] == [1]


@pytest.mark.parametrize(
    ("target", "bodies", "parts"),
    [
        ("Model", ("short", "binary"), ["binary: the service can't take it", "UnicodeDecodeError"]),
        ("Model", ("sick",), ["sick: the service fails on it", "no good"]),
        ("Poisoned", ("poison",), ["poison: the service fails on it", "poisoned"]),
        ("Brittle", ("short",), ["infer fails on 2 items at once", "--max-batch-size"]),
    ],
)
def test_a_service_that_fails_is_one_line(
    target: str, bodies: tuple[str, ...], parts: list[str], tune: Tune
) -> None:
    refused(tune(target, bodies=bodies), *parts)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ([], ["--body, --bodies and --field"]),
        (["--body=short", "--field=a=b"], ["--body, --bodies and --field"]),
        (["--body=nowhere"], ["--body: nowhere can't be read"]),
        (["--bodies=nowhere"], ["--bodies: nowhere can't be read"]),
        (["--bodies=empty"], ["--bodies: empty holds no files"]),
        (["--field=audio=@nowhere/*.wav"], ["--field audio: nowhere/*.wav can't be read"]),
        (["--field=audio"], ["NAME=VALUE"]),
        (["--body=short", "--p99=1", "--mean=1"], ["--p99 and --mean"]),
        (["--body=short", "--rate=0"], ["--rate"]),
        (["--body=short", "--plot=nowhere/chart.png"], ["--plot", "nowhere"]),
        (["--body=short", "--figures=empty"], ["--figures: empty"]),
        (["--body=short", "--device=nonsense"], ["device is nonsense"]),
    ],
)
def test_a_wrong_flag_is_one_line(flags: list[str], parts: list[str], tune: Tune, workplace: Path) -> None:
    (workplace / "empty").mkdir()
    refused(tune("Model", *flags, bodies=()), *parts)


def test_a_target_is_required(tune: Tune) -> None:
    refused(tune(""), "TARGET is missing")


def test_without_matplotlib_it_says_at_once_what_to_install(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(tune("Model", "--plot=chart.png"), "rpcb-trio[plot]")


def test_fields_make_a_request_of_each_file_that_matches(tune: Tune, workplace: Path) -> None:
    bodies = read_bodies((), None, ["audio=@*ort", "audio=@long", "format=wav"])
    assert list(bodies) == ["audio=@short", "audio=@long"]
    assert [msgspec.msgpack.decode(body.content) for body in bodies.values()] == [
        {"audio": b"a", "format": "wav"},
        {"audio": b"a" * 8, "format": "wav"},
    ]
    assert list(read_bodies((), None, ["format=wav"])) == ["format=wav"]


def test_a_directory_gives_a_body_for_each_of_its_files(workplace: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (workplace / name).write_text(name)
    (workplace / "deeper").mkdir()
    assert list(read_bodies((), workplace, ()).values()) == [Body(b"a"), Body(b"b")]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.json", "application/json"),
        ("a.msgpack", "application/msgpack"),
        ("a.txt", "text/plain"),
        ("a.json.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_file_s_name_says_of_what_type_the_body_in_it_is(
    name: str, content_type: str, workplace: Path
) -> None:
    file = workplace / name
    file.write_bytes(b"a")
    assert [*read_bodies([file], None, ()).values()] == [Body(b"a", content_type)]
    assert RequestFlags(body=file).read(None, "TEXT") == Body(b"a", content_type)


def test_a_typed_service_is_measured_with_fields(tune: Tune, workplace: Path) -> None:
    (workplace / "services.py").write_text(
        "import msgspec\n"
        "class Text(msgspec.Struct):\n"
        "    text: str\n"
        "def classify(texts: list[Text]) -> list[str]:\n"
        "    return [each.text for each in texts]\n"
    )
    assert found(tune("classify", "--field=text=hello", bodies=()))["measured"]


def test_the_documentations_recordings_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "how-to" / "tune.md").read_text().replace("\\\n", "")
    [command] = re.findall(r"^\$ rpcb-trio (tune .* --field .*)$", page, re.MULTILINE)
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    fields = [words[place + 1] for place, word in enumerate(words) if word == "--field"]
    assert len(read_bodies((), None, fields)) > 1


def test_for_keda_it_prints_an_object_on_stdout_and_all_else_on_stderr(tune: Tune) -> None:
    ended = tune("Model", "--rate=20", "--p99=5", "--keda", "--queue=asr")
    printed = yaml.safe_load(ended.out)
    assert printed["kind"] == "ScaledObject"
    assert printed["spec"]["scaleTargetRef"] == {"name": "rpcb-worker"}
    assert {trigger["metadata"]["queueName"] for trigger in printed["spec"]["triggers"]} == {"asr"}
    assert f"prefetch = {found(ended)['recommended']['prefetch']}\n" in ended.out
    assert "terminationGracePeriodSeconds: 35" in ended.out
    assert "Recommended" in ended.err


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        (["--callers=3", "--p99=5", "--queue=asr"], "--rate"),
        (["--rate=20", "--queue=asr"], "--p99 or --mean"),
        (["--rate=20", "--p99=5"], "--queue"),
    ],
    ids=["rate", "objective", "queue"],
)
def test_what_keda_needs_is_asked_for_before_anything_is_measured(
    flags: list[str], remedy: str, tune: Tune
) -> None:
    refused(tune("Model", "--keda", *flags), "--keda", remedy)
    assert not Path("warmed").exists()
