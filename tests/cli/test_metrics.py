"""`serve --metrics`: what a real Prometheus finds, and what is refused."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import prometheus_client
import pytest

from rpcb_trio import SettingError, open_client
from rpcb_trio._commands._metrics import VARIABLE, counting
from tests.cli.conftest import Ended, Serve
from tests.prometheus import Series, scraping
from tests.rabbitmq import Broker

Run = Callable[..., Ended]

COUNTING = """
import os
from prometheus_client import Counter, Gauge

items = Counter("speech_items", "Items that were computed.", ["kind"])
weights = Gauge("speech_weights", "Weights that are loaded.")

class Service:
    def decode(self, body): return body

    def infer(self, bodies):
        weights.set(1)
        for body in bodies:
            items.labels("deadly" if body == b"deadly" and not os.path.exists("died") else "plain").inc()
            if body == b"deadly" and not os.path.exists("died"):
                open("died", "w").close()
                os.abort()
        return bodies

    def encode(self, outcome): return outcome.value
"""


def only(value: float) -> Callable[[list[Series]], bool]:
    """Whether there is one series, of this value."""
    return lambda found: [each for _, each in found] == [value]


async def test_prometheus_finds_what_a_worker_does_and_what_its_service_counts_in_a_process_that_dies(
    serve: Serve, broker: Broker, queue: str, workplace: Path
) -> None:
    (workplace / "speech.py").write_text(COUNTING)
    argv = ("speech:Service", "--queue", queue, "--health-port=0", "--executor=process")
    async with serve(*argv) as serving:
        line = await serving.line_with("health: http://", "/metrics")
        target = re.findall(r"http://(127\.0\.0\.1:\d+)/", line)[0]
        await serving.line_with("consuming from queue", queue)
        async with scraping(workplace, worker=target) as prometheus, open_client(broker.url) as client:
            await prometheus.until("rpcb_ready", holds=only(1))
            for body in (b"a", b"b", b"deadly", b"c"):
                assert (await client.call(body, queue=queue, timeout=30)).body == body
            await prometheus.until('rpcb_requests_total{outcome="success"}', holds=only(4))
            await prometheus.until('speech_items_total{kind="deadly"}', holds=only(1))
            await prometheus.until('speech_items_total{kind="plain"}', holds=only(4))
            await prometheus.until("sum(speech_weights)", holds=only(1))  # of the process that lives
            [(labels, _)] = await prometheus.until("rpcb_request_duration_seconds_count == 4")
            assert labels["queue"] == queue
            rates = "sum by (le, queue) (rate(rpcb_request_duration_seconds_bucket[1m]))"
            [(_, seconds)] = await prometheus.until(
                f"histogram_quantile(0.95, {rates})", holds=lambda found: bool(found) and found[0][1] > 0
            )
            assert seconds < 600
            await prometheus.until("sum(rpcb_batches_total)", holds=only(4))
            await prometheus.until("process_resident_memory_bytes > 1e6")
        serving.send(signal.SIGTERM)
        assert await serving.end() == 0


def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(("rpcb_trio._metrics", "rpcb_trio.metrics")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)


def test_metrics_that_are_asked_for_need_the_extra(
    run_command: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_extra(monkeypatch)
    ended = run_command("serve", "services:shout", "--queue=q", "--health-port=0", "--metrics")
    assert ended.code == 2
    assert "metrics needs prometheus_client; install it with pip install 'rpcb-trio[metrics]'" in ended.line
    with counting(None) as registry:
        assert registry is None


def test_metrics_that_are_asked_for_need_a_port(run_command: Run) -> None:
    ended = run_command("serve", "services:shout", "--queue=q", "--metrics")
    assert ended.code == 2
    assert "metrics has no effect without health_port; set that, too" in ended.line


def test_one_setting_turns_them_off() -> None:
    with counting(asked=False, processes=True) as registry:
        assert registry is None


def test_what_a_service_counts_in_a_thread_stands_beside_the_worker_s_own_counts() -> None:
    with counting(None) as registry:
        assert registry is prometheus_client.REGISTRY


def test_a_folder_for_several_processes_that_is_none_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(workplace / "missing"))
    with (
        pytest.raises(SettingError, match=rf"^{VARIABLE} is .*missing, which is no directory"),
        counting(None),
    ):
        raise AssertionError


def test_without_room_for_the_counts_of_processes_it_warns_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with counting(None, processes=True) as registry:
        assert registry is not None
        assert VARIABLE not in os.environ
    assert "set TMPDIR to a directory that can be written" in caplog.text


def test_the_folder_of_the_processes_is_gone_at_the_end() -> None:
    with counting(None, processes=True):
        folder = Path(os.environ[VARIABLE])
        assert folder.is_dir()
    assert not folder.exists()
    assert VARIABLE not in os.environ
